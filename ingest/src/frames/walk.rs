//! Walks over an item that cannot be scanned, byte by byte, to where its brackets say it ends.

/// Where in the item the walk is.
#[derive(Clone, Copy, Default)]
pub(super) struct Walk {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    is_line_start: bool,
}

/// Where a [`Walk`] stands after some bytes.
pub(super) enum Walked {
    /// Still inside the item.
    All,
    /// The item ended before this position.
    Item(usize),
    /// The line at this position begins an item of its own, so this one must have ended.
    Line(usize),
    /// No JSON goes on like this: a line that ends inside a string, or a hole.
    Broken(usize),
}

impl Walked {
    /// Where it ended, if it did.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Item(length) | Self::Line(length) | Self::Broken(length) => Some(*length),
        }
    }
}

impl Walk {
    /// Begins inside an object, where its next entry should be.
    pub(super) fn inside_object() -> Self {
        Self { depth: 1, ..Self::default() }
    }

    /// Goes on over `bytes`.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Walked {
        for (position, &byte) in bytes.iter().enumerate() {
            if self.is_line_start && matches!(byte, b'{' | b'[') {
                return Walked::Line(position);
            }
            self.is_line_start = byte == b'\n';
            match byte {
                0 => return Walked::Broken(position),
                b'\n' if self.in_string => return Walked::Broken(position),
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b',' | b'}' | b']' if self.depth == 0 => return Walked::Item(position),
                b'}' | b']' if self.depth == 1 => return Walked::Item(position + 1),
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        Walked::All
    }
}
