"""From what a user has to records, and from predictions to answers: pure functions of a batch."""
