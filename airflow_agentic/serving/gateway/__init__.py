"""The gateway: ``POST /predict`` runs a workflow through the coordinator."""
