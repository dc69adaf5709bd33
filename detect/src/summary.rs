//! One sentence about an event.

use crate::field::View;

/// One sentence that a person can act on.
pub fn summary(_view: View<'_>) -> String {
    String::new()
}
