"""The DCGAN in PyTorch."""
