//! The sampler with its history, on this machine.
