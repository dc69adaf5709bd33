//! The instructions that look at 64 bytes at once: the only unsafe code.
//!
//! A processor has them or not, so whether it does is asked at run time, once. A value of
//! `Avx2` or `Avx512` is the answer yes: none is made but behind the question.
#![allow(unsafe_code)]

use super::blocks::{self, BLOCK_BYTES, Masks, Members};

/// The instructions that a scan uses. All give the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
}

impl Level {
    /// One byte after the other, on any machine.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// The fastest that this machine has.
    #[inline]
    pub fn best() -> Self {
        static BEST: std::sync::LazyLock<Level> =
            std::sync::LazyLock::new(|| Level::available().last().unwrap_or(Level::SCALAR));
        *BEST
    }

    /// All that this machine has, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [x86::Avx2::detected().map(Kind::Avx2), x86::Avx512::detected().map(Kind::Avx512)]
            .map(|kind| kind.map(Self));
        #[cfg(not(target_arch = "x86_64"))]
        let vectors = [];
        std::iter::once(Self::SCALAR).chain(vectors.into_iter().flatten())
    }

    /// The position after the object or array at `start`, if blocks can tell it.
    #[inline]
    pub(super) fn container_end<M: Members>(
        self,
        bytes: &[u8],
        start: usize,
        members: &mut M,
    ) -> Option<usize> {
        match self.0 {
            Kind::Scalar => None,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.container_end(bytes, start, members),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512) => avx512.container_end(bytes, start, members),
        }
    }
}

/// What blocks need of the processor.
pub(super) trait Vector: Copy {
    /// Tells the bytes of a block apart.
    fn masks(self, block: &[u8; BLOCK_BYTES]) -> Masks;

    /// The white space of a block.
    fn white(self, block: &[u8; BLOCK_BYTES]) -> u64;

    /// For each bit whether an odd number of bits is set up to and with it.
    fn parity(self, bits: u64) -> u64;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK_BYTES, Masks, Members, Vector, blocks};

    /// The proof that this processor has AVX2, CLMUL and what came with them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Avx2(());

    impl Avx2 {
        #[inline]
        pub(super) fn detected() -> Option<Self> {
            let is_detected = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("pclmulqdq");
            is_detected.then_some(Self(()))
        }

        #[inline]
        pub(super) fn container_end<M: Members>(
            self,
            bytes: &[u8],
            start: usize,
            members: &mut M,
        ) -> Option<usize> {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { container_end_avx2(self, bytes, start, members) }
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
    fn container_end_avx2<M: Members>(
        avx2: Avx2,
        bytes: &[u8],
        start: usize,
        members: &mut M,
    ) -> Option<usize> {
        blocks::container_end(avx2, bytes, start, members)
    }

    impl Vector for Avx2 {
        #[inline(always)]
        fn masks(self, block: &[u8; BLOCK_BYTES]) -> Masks {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { masks_avx2(block) }
        }

        #[inline(always)]
        fn white(self, block: &[u8; BLOCK_BYTES]) -> u64 {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { white_avx2(block) }
        }

        #[inline(always)]
        fn parity(self, bits: u64) -> u64 {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { parity_clmul(bits) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masks_avx2(block: &[u8; BLOCK_BYTES]) -> Masks {
        let halves = halves(block);
        let equal = |byte: u8| both(halves.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))));
        let lower = halves.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)));
        let equal_lower =
            |byte: u8| both(lower.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))));
        let last_control = _mm256_set1_epi8(0x1f);
        Masks {
            quotes: equal(b'"'),
            backslashes: equal(b'\\'),
            controls: both(
                halves.map(|half| _mm256_cmpeq_epi8(_mm256_max_epu8(half, last_control), last_control)),
            ),
            spaces: equal(b' '),
            opening: equal_lower(b'{'),
            closing: equal_lower(b'}'),
            // The bit that tells `{` from `[` and `}` from `]`, moved to where a mask is taken from.
            curly: both(halves.map(|half| _mm256_slli_epi16::<2>(half))),
            colons: equal(b':'),
            commas: equal(b','),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn white_avx2(block: &[u8; BLOCK_BYTES]) -> u64 {
        let halves = halves(block);
        let equal = |byte: u8| both(halves.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))));
        equal(b' ') | equal(b'\n') | equal(b'\r') | equal(b'\t')
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(block: &[u8; BLOCK_BYTES]) -> [__m256i; 2] {
        let start = block.as_ptr().cast::<__m256i>();
        // SAFETY: both loads lie in the 64 bytes of `block` and need no alignment.
        unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
    }

    /// The highest bit of each byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn both(halves: [__m256i; 2]) -> u64 {
        let [low, high] = halves.map(|half| u64::from(_mm256_movemask_epi8(half).cast_unsigned()));
        low | high << 32
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn parity_clmul(bits: u64) -> u64 {
        let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits.cast_signed()), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product).cast_unsigned()
    }

    /// The proof that this processor has AVX-512 with instructions for bytes, and what [`Avx2`] needs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Avx512(());

    impl Avx512 {
        #[inline]
        pub(super) fn detected() -> Option<Self> {
            let is_detected = Avx2::detected().is_some()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw");
            is_detected.then_some(Self(()))
        }

        #[inline]
        pub(super) fn container_end<M: Members>(
            self,
            bytes: &[u8],
            start: usize,
            members: &mut M,
        ) -> Option<usize> {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { container_end_avx512(self, bytes, start, members) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
    fn container_end_avx512<M: Members>(
        avx512: Avx512,
        bytes: &[u8],
        start: usize,
        members: &mut M,
    ) -> Option<usize> {
        blocks::container_end(avx512, bytes, start, members)
    }

    impl Vector for Avx512 {
        #[inline(always)]
        fn masks(self, block: &[u8; BLOCK_BYTES]) -> Masks {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { masks_avx512(block) }
        }

        #[inline(always)]
        fn white(self, block: &[u8; BLOCK_BYTES]) -> u64 {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { white_avx512(block) }
        }

        #[inline(always)]
        fn parity(self, bits: u64) -> u64 {
            // SAFETY: `self` proves that the processor has what the function is compiled for.
            unsafe { parity_clmul(bits) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn masks_avx512(block: &[u8; BLOCK_BYTES]) -> Masks {
        let bytes = whole(block);
        let lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
        let equal = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
        let equal_lower = |byte: u8| _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8(byte as i8));
        Masks {
            quotes: equal(b'"'),
            backslashes: equal(b'\\'),
            controls: _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20)),
            spaces: equal(b' '),
            opening: equal_lower(b'{'),
            closing: equal_lower(b'}'),
            curly: _mm512_test_epi8_mask(bytes, _mm512_set1_epi8(0x20)),
            colons: equal(b':'),
            commas: equal(b','),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn white_avx512(block: &[u8; BLOCK_BYTES]) -> u64 {
        let bytes = whole(block);
        let equal = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
        equal(b' ') | equal(b'\n') | equal(b'\r') | equal(b'\t')
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn whole(block: &[u8; BLOCK_BYTES]) -> __m512i {
        // SAFETY: the load is of the 64 bytes of `block` and needs no alignment.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    }
}
