//! Bytes in blocks of 64: what is asked of the processor about each, and how they follow each other.

/// 64 bytes, so that one word has a bit for each.
pub(super) type Block = [u8; 64];

/// What the bytes of a block are, whether inside a string or not. The first byte is the lowest bit.
pub(super) struct Masks {
    pub(super) quotes: u64,
    pub(super) backslashes: u64,
    /// Bytes below 0x20.
    pub(super) controls: u64,
    pub(super) spaces: u64,
    /// `{` and `[`.
    pub(super) opening: u64,
    /// `}` and `]`.
    pub(super) closing: u64,
    /// Among the brackets, the curly ones; anything elsewhere.
    pub(super) curly: u64,
    pub(super) colons: u64,
    pub(super) commas: u64,
}

/// What is asked of the processor.
pub(super) trait Vector: Copy {
    /// Tells the bytes of a block apart.
    fn masks(self, block: &Block) -> Masks;

    /// The white space of a block.
    fn white(self, block: &Block) -> u64;

    /// For each bit whether an odd number of bits is set up to and with it.
    fn parity(self, bits: u64) -> u64;
}

/// A search for the end of a value that is compiled for each kind of processor.
pub(super) trait Search {
    /// Gives the position after what was looked at, if it can be told.
    fn run<V: Vector>(self, vector: V) -> Option<usize>;
}

/// Bytes block by block; the last one is filled up with spaces.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    last: Block,
}

impl<'a> Blocks<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, last: [b' '; size_of::<Block>()] }
    }

    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<&Block> {
        if let Some((block, rest)) = self.rest.split_first_chunk() {
            self.rest = rest;
            return Some(block);
        }
        let rest = std::mem::take(&mut self.rest);
        self.last.get_mut(..rest.len())?.copy_from_slice(rest);
        (!rest.is_empty()).then_some(&self.last)
    }
}

/// Which bytes stand inside strings, from block to block.
#[derive(Default)]
pub(super) struct Strings {
    /// All bits set inside a string, else none.
    inside: u64,
}

/// The strings of a block.
#[derive(Clone, Copy)]
pub(super) struct Quoted {
    /// From each opening quote up to, but without, the closing one.
    pub(super) inside: u64,
    /// The quotes that open a string.
    pub(super) opening: u64,
    /// The quotes that close one.
    pub(super) closing: u64,
}

impl Strings {
    /// Takes the quotes of the next block that are not escaped.
    #[inline(always)]
    pub(super) fn next<V: Vector>(&mut self, vector: V, quotes: u64) -> Quoted {
        let inside = vector.parity(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(inside >> 63);
        Quoted { inside, opening: quotes & inside, closing: quotes & !inside }
    }
}

/// Which bytes are escaped, from block to block.
#[derive(Default)]
pub(super) struct Escapes {
    /// 1 when the first byte of the next block is escaped.
    carried: u64,
}

impl Escapes {
    /// Takes the backslashes of the next block and gives the bytes they escape; nothing as soon
    /// as `check` refuses the position of a backslash that begins an escape.
    #[inline(always)]
    pub(super) fn next(&mut self, mut backslashes: u64, check: impl Fn(usize) -> bool) -> Option<u64> {
        let mut escaped = std::mem::take(&mut self.carried);
        backslashes &= !escaped;
        while backslashes != 0 {
            let place = backslashes.trailing_zeros();
            if !check(place as usize) {
                return None;
            }
            let letter = 2 << place;
            self.carried = u64::from(letter == 0);
            escaped |= letter;
            backslashes &= (backslashes - 1) & !letter;
        }
        Some(escaped)
    }

    /// The same of text that was validated, at one cost however much is escaped; of bytes that are no backslashes
    /// themselves.
    #[inline(always)]
    pub(super) fn next_unchecked(&mut self, backslashes: u64) -> u64 {
        /// Every other bit, from the lowest on.
        const EVEN: u64 = u64::MAX / 3;
        let escaped = std::mem::take(&mut self.carried);
        // What follows a run of an odd number is escaped. Adding the first bit of a run moves it behind the last.
        let runs = backslashes & !escaped;
        let first = runs & !(runs << 1);
        let behind_even = runs.wrapping_add(first & EVEN);
        let (behind_odd, is_carried) = runs.overflowing_add(first & !EVEN);
        self.carried = u64::from(is_carried);
        escaped | ((behind_even & !EVEN) | (behind_odd & EVEN)) & !runs
    }
}
