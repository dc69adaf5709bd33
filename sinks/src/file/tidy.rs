//! Puts away files that are done with: compresses them, removes the oldest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression as Effort;
use flate2::write::GzEncoder;

use super::known::Place;
use super::rotated::{GZIP, Names, Rotated};
use super::{Compression, Rotation};

/// What the name of a file ends with that is being compressed.
const PARTIAL: &str = ".partial";

/// Puts away the files that are older than the one that the cursor remembers: nothing is ever
/// looked up in them again.
pub(super) fn tidy(names: &Names, rotation: &Rotation, memo: Option<&str>) -> io::Result<()> {
    let Some(place) = memo.and_then(Place::read) else { return Ok(()) };
    let mut old = Vec::new();
    for rotated in names.rotated()? {
        if !rotated.is_compressed && Place::end_of(&File::open(&rotated.path)?)?.is_in(&place) {
            break;
        }
        old.push(rotated);
    }
    let old = match rotation.compression {
        Compression::None => old,
        Compression::Gzip => compress_all(old)?,
    };
    let surplus_count = rotation.keep_count.map_or(0, |keep_count| old.len().saturating_sub(keep_count));
    for rotated in old.into_iter().take(surplus_count) {
        fs::remove_file(rotated.path)?;
    }
    File::open(names.folder())?.sync_all()
}

/// Compresses what is not; returns what is left.
fn compress_all(old: Vec<Rotated>) -> io::Result<Vec<Rotated>> {
    let mut compressed: Vec<Rotated> = Vec::new();
    for mut rotated in old {
        if !rotated.is_compressed {
            rotated.path = compress(&rotated.path)?;
            rotated.is_compressed = true;
        }
        // Both forms are there if the process ended before it removed the longer one.
        if compressed.last() != Some(&rotated) {
            compressed.push(rotated);
        }
    }
    Ok(compressed)
}

/// Replaces a file by its compressed form; returns the name of that.
fn compress(path: &Path) -> io::Result<PathBuf> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (partial, whole) = (named(&format!("{GZIP}{PARTIAL}")), named(GZIP));
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    let mut encoder = GzEncoder::new(target, Effort::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&partial, &whole)?;
    fs::remove_file(path)?;
    Ok(whole)
}
