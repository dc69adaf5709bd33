//! Validates objects and arrays 64 bytes at a time, a bit for each byte.
//!
//! Says where a value ends, or nothing: then [`super::scalar`] has the word. What is given
//! up on is what is wrong, what is cut off and what nests deeper than [`LEVELS_MAX`].
//!
//! **Invariant:** where this gives an end, the scalar scan accepts the value and gives the
//! same one; and nothing is looked at much further than the scalar scan would go, so that
//! trying in vain never costs more than the scan itself.

use super::vector::Vector;
use super::{scalar, skip_whitespace};

/// How many bytes are looked at together.
pub(super) const BLOCK_BYTES: usize = 64;

/// How deep containers may nest here: one bit of a word each, and one that marks the bottom.
const LEVELS_MAX: u32 = u64::BITS - 1;

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

/// Is told of the members of the outermost object while it is scanned, before they are known
/// to be sound: an end that is given at last, or is not, confirms or revokes all of it.
pub(crate) trait Members {
    /// False where nobody wants to be told.
    const WANTED: bool;

    /// Takes the position of a key's first byte and gives that of its value; nothing ends the
    /// scan without a result.
    fn key(&mut self, bytes: &[u8], start: usize) -> Option<usize>;

    /// Takes where the value of the last key lies.
    fn value(&mut self, start: usize, end: usize);
}

/// For values of which only the end is asked.
pub(super) struct Unwanted;

impl Members for Unwanted {
    const WANTED: bool = false;

    fn key(&mut self, _: &[u8], _: usize) -> Option<usize> {
        None
    }

    fn value(&mut self, _: usize, _: usize) {}
}

/// The position after the object or array at `start`, if it can be told.
#[inline(always)]
pub(super) fn container_end<V: Vector, M: Members>(
    vector: V,
    bytes: &[u8],
    start: usize,
    members: &mut M,
) -> Option<usize> {
    let mut scan = Scan::new(bytes, start);
    if M::WANTED {
        scan.tell_key(start, members)?;
    }
    let mut rest = bytes.get(start..)?;
    let mut padded;
    while !rest.is_empty() {
        let block = match rest.first_chunk() {
            Some(block) => block,
            None => {
                padded = [b' '; BLOCK_BYTES];
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        if let Some(end) = scan.step(vector, block, members)? {
            return Some(end);
        }
        scan.at += BLOCK_BYTES;
        rest = rest.get(BLOCK_BYTES..)?;
    }
    None
}

/// How far the scan has come, and what the bytes before mean for those that follow.
struct Scan<'a> {
    bytes: &'a [u8],
    /// Where the block begins.
    at: usize,
    /// One bit for each open container, the innermost lowest: set for an object. Above them a
    /// set bit, alone when none is open.
    open: u64,
    /// All bits set inside a string, else none.
    inside: u64,
    /// 1 when the first byte of the block is escaped.
    escaped: u64,
    /// 1 inside a key.
    in_key: u64,
    /// 1 when the last byte belongs to a number or a literal.
    in_scalar: u64,
    /// 1 each when the next byte that is not white space …
    /// … must begin a value.
    wants_value: u64,
    /// … must begin a key.
    wants_key: u64,
    /// … may end the empty container that has just been opened.
    after_opening: u64,
    /// … follows a value.
    after_value: u64,
    /// … follows a key.
    after_key: u64,
    /// Where the value of the current member of the outermost object begins.
    value: usize,
}

/// The structure of a block: what stands outside strings.
struct Structure {
    opening_quotes: u64,
    closing_quotes: u64,
    /// From each opening quote up to, but without, the closing one.
    strings: u64,
    opening: u64,
    closing: u64,
    colons: u64,
    commas: u64,
    white: u64,
    /// Bytes of numbers and literals, and whatever else does not belong.
    scalars: u64,
}

/// What the brackets of a block say.
struct Nesting {
    /// Bytes whose innermost container is an object, an opening bracket counting as inside.
    objects: u64,
    /// Bytes directly in the outermost container.
    outermost: u64,
    /// The bytes up to the end of the value, all when it does not end here.
    within: u64,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], start: usize) -> Self {
        Self {
            bytes,
            at: start,
            open: 1,
            inside: 0,
            escaped: 0,
            in_key: 0,
            in_scalar: 0,
            wants_value: 1,
            wants_key: 0,
            after_opening: 0,
            after_value: 0,
            after_key: 0,
            value: start,
        }
    }

    /// Takes the next block and gives the position after the value if it ends there; nothing
    /// when the scan cannot go on.
    #[inline(always)]
    fn step<V: Vector, M: Members>(
        &mut self,
        vector: V,
        block: &[u8; BLOCK_BYTES],
        members: &mut M,
    ) -> Option<Option<usize>> {
        let masks = vector.masks(block);
        let structure = self.structure(vector, block, &masks)?;
        let nesting = self.nest(&structure, masks.curly)?;
        let scalar_starts = structure.scalars & !(structure.scalars << 1 | self.in_scalar);
        self.in_scalar = structure.scalars >> 63;
        let errors = self.errors(&structure, &nesting, scalar_starts) | masks.controls & structure.strings;
        if errors & nesting.within != 0 {
            return None;
        }
        self.check_scalars(scalar_starts & nesting.within)?;
        if M::WANTED {
            self.tell(&structure, &nesting, members)?;
        }
        if self.open != 1 {
            return Some(None);
        }
        let length = nesting.within.trailing_ones() as usize;
        Some(Some(self.at + length))
    }

    #[inline(always)]
    fn structure<V: Vector>(
        &mut self,
        vector: V,
        block: &[u8; BLOCK_BYTES],
        masks: &Masks,
    ) -> Option<Structure> {
        let quotes = masks.quotes & !self.escaped(masks.backslashes)?;
        let strings = vector.parity(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(strings >> 63);
        let outside = !(strings | quotes);
        let blank = (masks.controls | masks.spaces) & outside;
        let white = if blank == 0 { 0 } else { vector.white(block) & outside };
        let opening = masks.opening & outside;
        let closing = masks.closing & outside;
        let colons = masks.colons & outside;
        let commas = masks.commas & outside;
        Some(Structure {
            opening_quotes: quotes & strings,
            closing_quotes: quotes & !strings,
            strings,
            opening,
            closing,
            colons,
            commas,
            white,
            scalars: outside & !(opening | closing | colons | commas | white),
        })
    }

    /// Which bytes are escaped, after each escape has been found sound.
    #[inline(always)]
    fn escaped(&mut self, mut backslashes: u64) -> Option<u64> {
        let mut escaped = std::mem::take(&mut self.escaped);
        backslashes &= !escaped;
        while backslashes != 0 {
            let place = backslashes.trailing_zeros();
            scalar::escape_end(self.bytes, self.at + place as usize).ok()?;
            let letter = 2_u64 << place;
            escaped |= letter;
            self.escaped = u64::from(letter == 0);
            backslashes &= (backslashes - 1) & !letter;
        }
        Some(escaped)
    }

    /// Follows the brackets; nothing when they do not match or might go too deep.
    #[inline(always)]
    fn nest(&mut self, structure: &Structure, curly: u64) -> Option<Nesting> {
        if self.open.leading_zeros() <= structure.opening.count_ones() {
            return None;
        }
        let mut open = self.open;
        let mut brackets = structure.opening | structure.closing;
        let mut nesting = Nesting {
            objects: 0_u64.wrapping_sub(open & 1),
            outermost: if open >> 1 == 1 { u64::MAX } else { 0 },
            within: u64::MAX,
        };
        let mut mismatches = 0;
        while brackets != 0 {
            let bracket = brackets & brackets.wrapping_neg();
            let onwards = bracket.wrapping_neg();
            brackets &= brackets - 1;
            let is_curly = u64::from(curly & bracket != 0);
            let is_opening = structure.opening & bracket != 0;
            let before = open;
            open = if is_opening { before << 1 | is_curly } else { before >> 1 };
            mismatches |= if is_opening { 0 } else { before ^ is_curly };
            nesting.objects ^= onwards & 0_u64.wrapping_sub((before ^ open) & 1);
            nesting.outermost &= !onwards;
            nesting.outermost |= if open >> 1 == 1 { onwards } else { 0 };
            if open == 1 {
                nesting.within = bracket ^ (bracket - 1);
                break;
            }
        }
        self.open = open;
        (mismatches & 1 == 0).then_some(nesting)
    }

    /// The bytes that cannot follow what stands before them.
    #[inline(always)]
    fn errors(&mut self, structure: &Structure, nesting: &Nesting, scalar_starts: u64) -> u64 {
        let Structure {
            opening_quotes,
            closing_quotes,
            strings,
            opening,
            closing,
            colons,
            commas,
            white,
            scalars,
        } = *structure;
        let heads = opening | commas;
        let wants_key = follow(heads & nesting.objects, white, &mut self.wants_key);
        let wants_value = follow(heads & !nesting.objects | colons, white, &mut self.wants_value);
        let after_opening = follow(opening, white, &mut self.after_opening);

        let opened_keys = opening_quotes & wants_key | self.in_key;
        let (passed, is_open) = strings.overflowing_add(opened_keys);
        self.in_key = u64::from(is_open);
        let closed_keys = passed & closing_quotes;

        let after_key = follow(closed_keys, white, &mut self.after_key);
        let values = closing_quotes & !closed_keys | closing | scalars;
        let after_value = follow(values, white, &mut self.after_value);

        (opening | scalar_starts) & !wants_value
            | opening_quotes & !(wants_value | wants_key)
            | commas & !after_value
            | closing & !(after_value | after_opening)
            | colons & !after_key
    }

    /// Validates numbers and literals.
    #[inline(always)]
    fn check_scalars(&self, mut starts: u64) -> Option<()> {
        while starts != 0 {
            let end = scalar::scalar_end(self.bytes, self.at + starts.trailing_zeros() as usize).ok()?;
            if !matches!(self.bytes.get(end)?, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                return None;
            }
            starts &= starts - 1;
        }
        Some(())
    }

    /// Tells of the values of the outermost object that the block's commas end, and of the keys that follow.
    #[inline(always)]
    fn tell<M: Members>(&mut self, structure: &Structure, nesting: &Nesting, members: &mut M) -> Option<()> {
        let mut commas = structure.commas & nesting.outermost & nesting.within;
        while commas != 0 {
            let at = self.at + commas.trailing_zeros() as usize;
            commas &= commas - 1;
            self.tell_value(at, members)?;
            self.tell_key(at, members)?;
        }
        if self.open == 1 {
            self.tell_value(self.at + nesting.within.trailing_ones() as usize - 1, members)?;
        }
        Some(())
    }

    /// Tells of the key behind the position of a brace or comma.
    #[inline(always)]
    fn tell_key<M: Members>(&mut self, at: usize, members: &mut M) -> Option<()> {
        self.value = members.key(self.bytes, skip_whitespace(self.bytes, at + 1))?;
        Some(())
    }

    #[inline(always)]
    fn tell_value<M: Members>(&self, end: usize, members: &mut M) -> Option<()> {
        let value = self.bytes.get(self.value..end)?;
        let blank = if *value.last()? > b' ' { 0 } else { value.len() - value.trim_ascii_end().len() };
        members.value(self.value, end - blank);
        Some(())
    }
}

/// The first bytes behind those of `mask` that are not white space.
#[inline(always)]
fn follow(mask: u64, white: u64, carry: &mut u64) -> u64 {
    let next = mask << 1 | std::mem::replace(carry, mask >> 63);
    if white == 0 {
        return next;
    }
    let (passed, is_open) = (next & white).overflowing_add(white);
    *carry |= u64::from(is_open);
    (next | passed) & !white
}
