//! Sentences for events of every shape.
