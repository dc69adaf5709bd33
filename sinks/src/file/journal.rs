//! The file that is written: lines that are whole and on disk, or not there.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Rotation;
use super::disk::Disk;
use super::known::{self, Known, Place};
use super::rotated::Names;
use crate::delivery::{BATCH_COUNT_MAX, Delivery, Trouble, UNSAVED_COUNT_MAX};
use crate::outbox::Outgoing;

/// How much is written at once, in bytes.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// How far, in numbers of alerts, lines can be ahead of the cursor that was saved.
const AHEAD_MAX: u64 = UNSAVED_COUNT_MAX + BATCH_COUNT_MAX as u64;

/// The file and what is known about it.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Disk,
    names: Names,
    rotation: Rotation,
    current: Option<Current>,
    known: Known,
    first_number: Option<u64>,
}

/// The file that is open.
#[derive(Debug)]
struct Current {
    file: File,
    /// Its whole lines that are on disk.
    place: Place,
    /// Whether more may have been written than that.
    is_torn: bool,
    written_at: SystemTime,
}

/// How writing went.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) delivery: Delivery,
    /// What to remember; nothing as long as lines are found again that the cursor has not passed.
    pub(super) memo: Option<String>,
    pub(super) has_rotated: bool,
}

/// Lines that are collected to be written at once.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    count: usize,
}

impl Journal {
    /// Opens the file, cuts off half a line at its end and finds out what it already holds.
    pub(super) fn open(disk: Disk, names: Names, rotation: Rotation, memo: Option<&str>) -> io::Result<Self> {
        let current = Current::open(&disk, &names)?;
        let place = memo.and_then(Place::read);
        let mut files = older(&names, &current, place)?;
        files.push(current.file.try_clone()?);
        let known = known::read(files, place)?;
        let current = current.mended(&disk, &names, known.whole_bytes)?;
        Ok(Self { disk, names, rotation, current: Some(current), known, first_number: None })
    }

    /// Writes what is not there yet.
    pub(super) fn append(&mut self, alerts: &[Arc<Outgoing>]) -> Written {
        let mut delivered_count = 0;
        let mut has_rotated = false;
        let trouble = self.write(alerts, &mut delivered_count, &mut has_rotated).err();
        let passed = alerts.get(..delivered_count).unwrap_or_default();
        for alert in passed {
            self.known.ids.remove(&alert.id);
        }
        let memo = self.memo(passed.last().map(|alert| alert.number));
        Written { delivery: Delivery { delivered_count, trouble }, memo, has_rotated }
    }

    fn write(
        &mut self,
        alerts: &[Arc<Outgoing>],
        delivered_count: &mut usize,
        has_rotated: &mut bool,
    ) -> Result<(), Trouble> {
        let path = self.names.current().to_owned();
        let trouble = |error: io::Error| {
            Trouble::temporary(&format!("`{}` cannot be written: {error}", path.display()))
        };
        let now = SystemTime::now();
        self.attach().map_err(trouble)?;
        let mut pending = Pending::default();
        for alert in alerts {
            self.first_number.get_or_insert(alert.number);
            if alert.json.contains('\n') {
                *delivered_count += self.flush(&mut pending).map_err(trouble)?;
                return Err(Trouble::Refused { reason: "the alert is not one line".to_owned() });
            }
            if self.known.ids.contains(&alert.id) {
                pending.count += 1;
                continue;
            }
            let is_due = self.is_rotation_due(pending.bytes.len(), alert.json.len(), now);
            if is_due || pending.bytes.len() >= WRITE_BYTES_MAX {
                *delivered_count += self.flush(&mut pending).map_err(trouble)?;
            }
            if is_due {
                self.rotate(now).map_err(trouble)?;
                *has_rotated = true;
            }
            pending.bytes.extend_from_slice(alert.json.as_bytes());
            pending.bytes.push(b'\n');
            pending.count += 1;
        }
        *delivered_count += self.flush(&mut pending).map_err(trouble)?;
        Ok(())
    }

    /// Writes lines and waits until they are on disk; returns how many alerts that are.
    fn flush(&mut self, pending: &mut Pending) -> io::Result<usize> {
        if !pending.bytes.is_empty() {
            let current = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
            current.is_torn = true;
            self.disk.write(&current.file, &pending.bytes)?;
            self.disk.sync(&current.file)?;
            current.is_torn = false;
            current.place.bytes += pending.bytes.len() as u64;
            current.written_at = SystemTime::now();
        }
        pending.bytes.clear();
        Ok(std::mem::take(&mut pending.count))
    }

    /// Makes sure that what is written goes to the end of the file that has the name.
    fn attach(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.take_if(|current| !current.has_name(&self.names)) {
            let path = self.names.current().display();
            tracing::warn!(%path, "the file was moved or removed while it was written, a new one is begun");
            drop(current);
        }
        let Some(current) = &mut self.current else {
            let current = Current::open(&self.disk, &self.names)?;
            // What others wrote is theirs; only its end matters.
            let whole_bytes = known::read(vec![current.file.try_clone()?], None)?.whole_bytes;
            self.current = Some(current.mended(&self.disk, &self.names, whole_bytes)?);
            return Ok(());
        };
        current.mend(&self.disk)
    }

    fn is_rotation_due(&self, pending_bytes: usize, line_bytes: usize, now: SystemTime) -> bool {
        let Some(current) = &self.current else { return false };
        let bytes = current.place.bytes + pending_bytes as u64;
        let is_full = |max: u64| bytes + line_bytes as u64 + 1 > max;
        let is_over = |length| period_of(now, length) > period_of(current.written_at, length);
        // What is pending will be written now, in this period.
        bytes > 0
            && (self.rotation.bytes_max.is_some_and(is_full)
                || pending_bytes == 0 && self.rotation.period.is_some_and(is_over))
    }

    /// Gives the file another name and begins a new one.
    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let rotated = self.names.next(now)?;
        self.disk.rename(self.names.current(), &rotated)?;
        self.current = None;
        self.attach()
    }

    fn memo(&self, last_number: Option<u64>) -> Option<String> {
        let ahead = last_number?.saturating_sub(self.first_number?);
        if !self.known.ids.is_empty() && ahead < AHEAD_MAX {
            return None;
        }
        serde_json::to_string(&self.current.as_ref()?.place).ok()
    }
}

impl Current {
    fn open(disk: &Disk, names: &Names) -> io::Result<Self> {
        let file = disk.open(names.current())?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not that of a plain file"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "the file is written by another process",
                ));
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let written_at = metadata.modified().unwrap_or_else(|_| SystemTime::now());
        Ok(Self { place: Place::end_of(&file)?, file, is_torn: false, written_at })
    }

    /// Cuts off what is behind the last whole line, and makes the rest durable, its name included.
    fn mended(mut self, disk: &Disk, names: &Names, whole_bytes: u64) -> io::Result<Self> {
        self.is_torn = whole_bytes < self.place.bytes;
        self.place.bytes = whole_bytes;
        self.mend(disk)?;
        disk.sync(&self.file)?;
        disk.sync_folder(names.folder())?;
        Ok(self)
    }

    /// Cuts off what a write left that failed.
    fn mend(&mut self, disk: &Disk) -> io::Result<()> {
        let end = Place::end_of(&self.file)?;
        // Cutting must not make it longer: others may have emptied it.
        if self.is_torn && end.bytes > self.place.bytes {
            disk.cut(&self.file, self.place.bytes)?;
        } else if end.bytes != self.place.bytes {
            tracing::warn!(
                expected = self.place.bytes,
                found = end.bytes,
                "others changed the file of alerts"
            );
            self.place = end;
        }
        self.is_torn = false;
        Ok(())
    }

    /// Whether it is still what its name leads to.
    fn has_name(&self, names: &Names) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(names.current());
        metadata
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.place.device, self.place.inode))
    }
}

/// The files that may hold what is behind `place`, but for the current one, oldest first.
fn older(names: &Names, current: &Current, place: Option<Place>) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for rotated in names.rotated()?.into_iter().filter(|rotated| !rotated.is_compressed) {
        files.push(File::open(rotated.path)?);
    }
    let Some(place) = place else { return Ok(files) };
    let mut places = files.iter().map(Place::end_of).collect::<io::Result<Vec<_>>>()?;
    places.push(current.place);
    if !places.iter().any(|known| known.is_in(&place)) {
        // Others gave the file a name of their own.
        if let Some(path) = names.find(place.inode)? {
            files.insert(0, File::open(path)?);
        }
    }
    Ok(files)
}

/// Which period a time is in; those before 1970 are one.
fn period_of(time: SystemTime, length: Duration) -> u128 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() / length.as_nanos().max(1)
}
