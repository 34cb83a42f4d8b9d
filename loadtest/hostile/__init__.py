"""Authenticated clients at work while thousands of strangers hang, trickle and send garbage."""
