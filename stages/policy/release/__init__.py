"""A model leaves the house: as a file of llama.cpp, and checked by being read back."""
