//! Computed fields over events of every shape.
