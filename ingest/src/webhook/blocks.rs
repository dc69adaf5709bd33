//! Tells from the frames of HTTP/2 when a header has begun and not ended.
//!
//! Only lengths and flags are looked at; what they mean for a request is for who serves it.

/// What an HTTP/2 client begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of what each frame begins with.
const HEAD_BYTES: usize = 9;
/// The frames that headers come in.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// Says that a frame is the last of its header.
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Default)]
pub(super) struct Blocks {
    /// How much of the preface has come; nothing more is looked at if something else came.
    preface_bytes: usize,
    is_other: bool,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// What is still to come of a frame.
    rest_bytes: usize,
    /// How many headers have begun.
    begun: usize,
    /// A header has begun and not ended.
    is_open: bool,
    /// It ends with this frame.
    is_ending: bool,
}

impl Blocks {
    /// Follows what has come; true if a header began in it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let begun = self.begun;
        while let Some((first, others)) = bytes.split_first() {
            if self.is_other {
                return false;
            }
            if self.preface_bytes < PREFACE.len() {
                self.is_other = PREFACE.get(self.preface_bytes) != Some(first);
                self.preface_bytes += 1;
                bytes = others;
            } else if self.rest_bytes > 0 {
                let taken = self.rest_bytes.min(bytes.len());
                self.rest_bytes -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
                self.end();
            } else {
                self.begin(*first);
                bytes = others;
            }
        }
        self.begun != begun
    }

    /// True if this is HTTP/2.
    pub(super) fn is_multiplexed(&self) -> bool {
        !self.is_other && self.preface_bytes == PREFACE.len()
    }

    /// True if a header has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes a byte of what a frame begins with.
    fn begin(&mut self, byte: u8) {
        if let Some(place) = self.head.get_mut(self.head_bytes) {
            *place = byte;
        }
        self.head_bytes += 1;
        if self.head_bytes < HEAD_BYTES {
            return;
        }
        self.head_bytes = 0;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.rest_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
        let is_header = matches!(kind, HEADERS | CONTINUATION);
        self.begun = self.begun.wrapping_add(usize::from(is_header && !self.is_open));
        self.is_open |= is_header;
        self.is_ending = is_header && flags & END_HEADERS != 0;
        self.end();
    }

    /// Notes that a frame may have come to its end.
    fn end(&mut self) {
        if self.rest_bytes == 0 && self.is_ending {
            (self.is_open, self.is_ending) = (false, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// After each byte, whether a header is open.
    fn open(bytes: &[u8]) -> Vec<bool> {
        let mut blocks = Blocks::default();
        bytes
            .iter()
            .map(|byte| {
                blocks.read(&[*byte]);
                blocks.is_open()
            })
            .collect()
    }

    #[test]
    fn a_header_is_open_from_its_first_frame_to_the_end_of_its_last() {
        let settings = frame(4, 0, &[]);
        let data = frame(0, END_HEADERS, b"a body");
        let begun = frame(HEADERS, 0, b"abc");
        let ended = frame(CONTINUATION, END_HEADERS, b"d");
        let bytes = [&PREFACE[..], &settings, &data, &begun, &ended, &data].concat();
        let open = open(&bytes);
        let first = open.iter().position(|is_open| *is_open).unwrap();
        let last = open.iter().rposition(|is_open| *is_open).unwrap();
        let before = PREFACE.len() + settings.len() + data.len();
        assert_eq!(first, before + HEAD_BYTES - 1);
        assert_eq!(last, before + begun.len() + ended.len() - 2);
        assert!(open[first..=last].iter().all(|is_open| *is_open));
        // However the bytes come.
        let mut blocks = Blocks::default();
        blocks.read(&bytes[..before + 11]);
        assert!(blocks.is_open() && blocks.is_multiplexed());
        blocks.read(&bytes[before + 11..]);
        assert!(!blocks.is_open());
    }

    #[test]
    fn what_is_no_http_2_is_not_followed() {
        let mut blocks = Blocks::default();
        blocks.read(b"PRI * HTTP/1.1\r\n\r\n");
        blocks.read(&frame(HEADERS, 0, b"abc"));
        assert!(!blocks.is_open() && !blocks.is_multiplexed());
    }
}
