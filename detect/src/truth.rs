//! Three-valued logic (Kleene): what cannot be known decides nothing.

/// Whether a condition holds in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It does not hold.
    False,
    /// The event hides what would decide it.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    /// True when both hold.
    #[must_use]
    pub fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::True, Truth::True) => Truth::True,
            _ => Truth::Unknown,
        }
    }

    /// True when at least one holds.
    #[must_use]
    pub fn or(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::True, _) | (_, Truth::True) => Truth::True,
            (Truth::False, Truth::False) => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

impl Truth {
    /// Whether all hold; those after one that does not are left alone.
    pub(crate) fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
        Self::until(truths, Truth::True, Truth::and, Truth::False)
    }

    /// Whether any holds; those after one that does are left alone.
    pub(crate) fn any(truths: impl IntoIterator<Item = Truth>) -> Truth {
        Self::until(truths, Truth::False, Truth::or, Truth::True)
    }

    fn until(
        truths: impl IntoIterator<Item = Truth>,
        start: Truth,
        combine: fn(Truth, Truth) -> Truth,
        settled: Truth,
    ) -> Truth {
        let mut truth = start;
        for next in truths {
            truth = combine(truth, next);
            if truth == settled {
                break;
            }
        }
        truth
    }
}

impl std::ops::Not for Truth {
    type Output = Truth;

    fn not(self) -> Truth {
        match self {
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
            Truth::True => Truth::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Truth {
        if holds { Truth::True } else { Truth::False }
    }
}
