"""How good a model of motion is: figures of reconstructions for each domain, compared with the originals."""
