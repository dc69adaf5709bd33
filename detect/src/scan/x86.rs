//! The instructions of x86 that look at many bytes at once: the only unsafe code.
//!
//! What needs them takes an [`Avx2`] or an [`Avx512`], and there is none before the processor has
//! been asked; SSE2 every processor has. Bytes are read through references to whole blocks, or to 16 bytes.
#![allow(unsafe_code)]

// They are named in no other way than their maker's, which says where they come from.
#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::blocks::{Block, Masks, Search, Vector};

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
    pub(super) fn find(self, search: impl Search) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { find_avx2(self, search) }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn find_avx2(avx2: Avx2, search: impl Search) -> Option<usize> {
    search.run(avx2)
}

impl Vector for Avx2 {
    #[inline(always)]
    fn masks(self, block: &Block) -> Masks {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { masks_avx2(block) }
    }

    #[inline(always)]
    fn white(self, block: &Block) -> u64 {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { white_avx2(block) }
    }

    #[inline(always)]
    fn parity(self, bits: u64) -> u64 {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { parity_clmul(bits) }
    }
}

// What is given to other functions to call, as to `map`, is not compiled for the processor.
#[inline]
#[target_feature(enable = "avx2")]
fn masks_avx2(block: &Block) -> Masks {
    let [low, high] = halves(block);
    let halves = [low, high];
    let case = _mm256_set1_epi8(0x20);
    let lower = [_mm256_or_si256(low, case), _mm256_or_si256(high, case)];
    let last_control = _mm256_set1_epi8(0x1f);
    Masks {
        quotes: equal(halves, b'"'),
        backslashes: equal(halves, b'\\'),
        controls: both([
            _mm256_cmpeq_epi8(_mm256_max_epu8(low, last_control), last_control),
            _mm256_cmpeq_epi8(_mm256_max_epu8(high, last_control), last_control),
        ]),
        spaces: equal(halves, b' '),
        opening: equal(lower, b'{'),
        closing: equal(lower, b'}'),
        // The bit that tells `{` from `[` and `}` from `]`, moved to where a mask is taken from.
        curly: both([_mm256_slli_epi16::<2>(low), _mm256_slli_epi16::<2>(high)]),
        colons: equal(halves, b':'),
        commas: equal(halves, b','),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn white_avx2(block: &Block) -> u64 {
    let halves = halves(block);
    equal(halves, b' ') | equal(halves, b'\n') | equal(halves, b'\r') | equal(halves, b'\t')
}

/// Where the bytes are equal to this one.
#[inline]
#[target_feature(enable = "avx2")]
fn equal([low, high]: [__m256i; 2], byte: u8) -> u64 {
    let wanted = _mm256_set1_epi8(byte.cast_signed());
    both([_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted)])
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(block: &Block) -> [__m256i; 2] {
    let (low, high) = block.split_at(32);
    // SAFETY: both loads lie in the 32 bytes of their half and need no alignment.
    unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
}

/// The highest bit of each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn both(halves: [__m256i; 2]) -> u64 {
    let [low, high] = halves;
    let low = u64::from(_mm256_movemask_epi8(low).cast_unsigned());
    low | u64::from(_mm256_movemask_epi8(high).cast_unsigned()) << 32
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
    pub(super) fn find(self, search: impl Search) -> Option<usize> {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { find_avx512(self, search) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn find_avx512(avx512: Avx512, search: impl Search) -> Option<usize> {
    search.run(avx512)
}

impl Vector for Avx512 {
    #[inline(always)]
    fn masks(self, block: &Block) -> Masks {
        // SAFETY: `self` proves that the processor has what the function is compiled for.
        unsafe { masks_avx512(block) }
    }

    #[inline(always)]
    fn white(self, block: &Block) -> u64 {
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
fn masks_avx512(block: &Block) -> Masks {
    let bytes = whole(block);
    let lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    let equal = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte.cast_signed()));
    let equal_lower = |byte: u8| _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8(byte.cast_signed()));
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
fn white_avx512(block: &Block) -> u64 {
    let bytes = whole(block);
    let equal = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte.cast_signed()));
    equal(b' ') | equal(b'\n') | equal(b'\r') | equal(b'\t')
}

#[inline]
#[target_feature(enable = "avx512f")]
fn whole(block: &Block) -> __m512i {
    // SAFETY: the load is of the 64 bytes of `block` and needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

/// Where quotes and backslashes are among 16 bytes, the first byte the lowest bit.
#[inline]
pub(super) fn quotes_and_backslashes(bytes: &[u8; 16]) -> u32 {
    // SAFETY: every processor of this architecture has SSE2.
    unsafe { quotes_and_backslashes_sse2(bytes) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn quotes_and_backslashes_sse2(bytes: &[u8; 16]) -> u32 {
    // SAFETY: the load is of the 16 bytes and needs no alignment.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let equal = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
    _mm_movemask_epi8(_mm_or_si128(equal(b'"'), equal(b'\\'))).cast_unsigned()
}
