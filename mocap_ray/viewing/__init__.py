"""What `mocap-ray view` shows in a browser: plain values that need no viewer, and `browser.py`, which shows them."""
