"""``make faults``: kill processes of running workflows at random moments, and judge what their runs answer."""
