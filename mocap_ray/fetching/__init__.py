"""Getting AMASS and the body models: addresses, downloads, unpacking, and a check of what is there.

The only room that reaches the network.
"""
