//! Which instructions a scan uses: what the processor has, asked once.

use std::sync::LazyLock;

use super::blocks::Search;
#[cfg(target_arch = "x86_64")]
use super::x86;

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
        static BEST: LazyLock<Level> = LazyLock::new(|| Level::available().last().unwrap_or(Level::SCALAR));
        *BEST
    }

    /// All that this machine has, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [x86::Avx2::detected().map(Kind::Avx2), x86::Avx512::detected().map(Kind::Avx512)]
            .map(|kind| kind.map(Self));
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Self>; 0] = [];
        std::iter::once(Self::SCALAR).chain(vectors.into_iter().flatten())
    }

    /// What `search` finds; nothing where there are no instructions for blocks.
    #[inline]
    pub(super) fn find(self, search: impl Search) -> Option<usize> {
        match self.0 {
            Kind::Scalar => {
                drop(search);
                None
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.find(search),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512) => avx512.find(search),
        }
    }
}
