//! The right to accept writes.
