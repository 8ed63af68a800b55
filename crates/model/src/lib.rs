//! Decoders from a plan of layers, and their checkpoints in the published layouts.
