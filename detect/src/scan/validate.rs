//! Validates objects and arrays block by block, without a branch for each byte.
//!
//! Gives the end of a value, or nothing: then [`super::scalar`] has the word. Nothing is what is
//! wrong, what is cut off, what nests deeper than a word has bits, and what `Members` gives up.
//!
//! The grammar of JSON says of each byte that is neither white space nor inside a string what
//! may stand before it; so a block is sound when each is, and numbers, literals and escapes are.
//!
//! **Invariant:** where this gives an end, the scalar scan accepts the value and gives the same
//! end; and it looks no more than a block further than the scalar scan would, except for the
//! text of a key, so that trying in vain never costs more than the scan itself.

use super::blocks::{Block, Blocks, Escapes, Masks, Quoted, Search, Strings, Vector};
use super::{scalar, skip_whitespace};

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

/// The search for the end of the object or array at `start`.
pub(super) struct Validation<'a, 'm, M> {
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
    pub(super) members: &'m mut M,
}

impl<M: Members> Search for Validation<'_, '_, M> {
    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Option<usize> {
        let mut scan = Scan::new(self.bytes, self.start);
        if M::WANTED {
            scan.tell_key(self.start, self.members)?;
        }
        let mut blocks = Blocks::new(self.bytes.get(self.start..)?);
        while let Some(block) = blocks.next() {
            let within = scan.step(vector, block, self.members)?;
            if scan.open == 1 {
                return Some(scan.at + within.count_ones() as usize);
            }
            scan.at += block.len();
        }
        None
    }
}

/// How far the scan has come, and what the bytes before mean for those that follow.
struct Scan<'a> {
    bytes: &'a [u8],
    /// Where the block begins.
    at: usize,
    /// One bit for each open container, the innermost lowest: set for an object. Above them a
    /// set bit, alone when none is open.
    open: u64,
    strings: Strings,
    escapes: Escapes,
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
    quoted: Quoted,
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

impl Structure {
    #[inline(always)]
    fn new(masks: &Masks, quoted: Quoted, white: u64) -> Self {
        let outside = !(quoted.inside | quoted.closing);
        let opening = masks.opening & outside;
        let closing = masks.closing & outside;
        let colons = masks.colons & outside;
        let commas = masks.commas & outside;
        let scalars = outside & !(opening | closing | colons | commas | white);
        Self { quoted, opening, closing, colons, commas, white, scalars }
    }
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], start: usize) -> Self {
        Self {
            bytes,
            at: start,
            open: 1,
            strings: Strings::default(),
            escapes: Escapes::default(),
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

    /// Checks the next block and gives the bytes of it that belong to the value.
    #[inline(always)]
    fn step<V: Vector, M: Members>(&mut self, vector: V, block: &Block, members: &mut M) -> Option<u64> {
        let masks = vector.masks(block);
        let check = |place| scalar::escape_end(self.bytes, self.at + place).is_ok();
        let escaped = self.escapes.next(masks.backslashes, check)?;
        let quoted = self.strings.next(vector, masks.quotes & !escaped);
        let outside = !(quoted.inside | quoted.closing);
        let is_blank = (masks.controls | masks.spaces) & outside != 0;
        let white = if is_blank { vector.white(block) & outside } else { 0 };
        let structure = Structure::new(&masks, quoted, white);

        let nesting = self.nest(&structure, masks.curly)?;
        let starts = structure.scalars & !(structure.scalars << 1 | self.in_scalar);
        self.in_scalar = structure.scalars >> 63;
        let errors = self.errors(&structure, &nesting, starts) | masks.controls & quoted.inside;
        if errors & nesting.within != 0 {
            return None;
        }
        self.check_scalars(starts & nesting.within)?;
        if M::WANTED {
            self.tell(structure.commas & nesting.outermost & nesting.within, members)?;
            if self.open == 1 {
                self.tell_value(self.at + nesting.within.count_ones() as usize - 1, members)?;
            }
        }
        Some(nesting.within)
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
    fn errors(&mut self, structure: &Structure, nesting: &Nesting, starts: u64) -> u64 {
        let Structure { quoted, opening, closing, colons, commas, white, scalars } = *structure;
        let heads = opening | commas;
        let wants_key = follow(heads & nesting.objects, white, &mut self.wants_key);
        let wants_value = follow(heads & !nesting.objects | colons, white, &mut self.wants_value);
        let after_opening = follow(opening, white, &mut self.after_opening);

        let opened_keys = quoted.opening & wants_key | self.in_key;
        let (passed, is_open) = quoted.inside.overflowing_add(opened_keys);
        self.in_key = u64::from(is_open);
        let closed_keys = passed & quoted.closing;

        let after_key = follow(closed_keys, white, &mut self.after_key);
        let values = quoted.closing & !closed_keys | closing | scalars;
        let after_value = follow(values, white, &mut self.after_value);

        (opening | starts) & !wants_value
            | quoted.opening & !(wants_value | wants_key)
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

    /// Tells of the values of the outermost object that `commas` end, and of the keys behind them.
    #[inline(always)]
    fn tell<M: Members>(&mut self, mut commas: u64, members: &mut M) -> Option<()> {
        while commas != 0 {
            let at = self.at + commas.trailing_zeros() as usize;
            commas &= commas - 1;
            self.tell_value(at, members)?;
            self.tell_key(at, members)?;
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

#[cfg(test)]
mod tests {
    use super::{Unwanted, Validation};
    use crate::scan::Level;

    #[test]
    fn sound_values_are_told_wherever_blocks_begin() {
        let compact = r#"{"a":[1,-2.5e3,{},[],{"b":null}],"\u0041\"\\":"\n x","c":{"d":[true,[false]]}}"#;
        let pretty = "{ \"a\" : [\n\t\t1 ,\r\n  [ ] ,  { }  ] , \"b\" :  {  \"c\"  :  null  } }";
        for value in [compact, pretty] {
            for shift in 0..130 {
                check(&format!("[\"{}\",{value}]", "x".repeat(shift)));
                check(&format!("[{}{value}]", " ".repeat(shift)));
                check(&format!("{{\"{}\":{value}}}", "x".repeat(shift)));
            }
        }
    }

    #[track_caller]
    fn check(value: &str) {
        let followed = format!("{value}\n{{\"");
        for level in Level::available().skip(1) {
            let search = Validation { bytes: followed.as_bytes(), start: 0, members: &mut Unwanted };
            assert_eq!(level.find(search), Some(value.len()), "{level:?} {value}");
        }
    }
}
