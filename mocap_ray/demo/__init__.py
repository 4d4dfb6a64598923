"""The synthetic archive and the stand-in body: for `make demo`, the tests and `body standin`."""
