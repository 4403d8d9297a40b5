//! Layers are unpacked side by side: most of the work is to decompress them and to compare digests.

use std::io::{self, Read};
use std::num::NonZero;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use twill_archive::{Archive, PlannedLayer};

use super::commit::{Trouble, Work};

/// More would wait for the same disk, and each may take the memory of a large window of zstd.
const AT_ONCE: usize = 4;

impl Work {
    /// Unpacks these layers of an archive. With the first that fails, the others end as well.
    pub(super) fn unpack_all(
        &mut self,
        archive: &Archive,
        layers: &[&PlannedLayer],
    ) -> Result<(), Trouble> {
        let folders = self.folders(layers.len());
        let tasks: Vec<_> = layers.iter().copied().zip(folders).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let crew = Crew { work: self, archive, tasks: &tasks, next, failed };
        let troubles = crew.run();
        if let Some(trouble) = troubles.into_iter().next() {
            return Err(trouble);
        }
        for (layer, folder) in tasks {
            self.keep(layer.diff_id, folder);
        }
        Ok(())
    }
}

struct Crew<'a> {
    work: &'a Work,
    archive: &'a Archive,
    tasks: &'a [(&'a PlannedLayer, PathBuf)],
    /// The first task that nobody has begun.
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Crew<'_> {
    /// What went wrong: nothing, or one thing.
    fn run(&self) -> Vec<Trouble> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let at_once = processors.min(AT_ONCE).min(self.tasks.len());
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..at_once).map(|_| scope.spawn(|| self.labour())).collect();
            let mut troubles: Vec<Trouble> = self.labour().err().into_iter().collect();
            for helper in helpers {
                let answer = helper.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
                troubles.extend(answer.err());
            }
            troubles
        })
    }

    fn labour(&self) -> Result<(), Trouble> {
        while !self.failed.load(Ordering::Relaxed) {
            let task = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed));
            let Some((layer, folder)) = task else { break };
            if let Err(trouble) = self.unpack(layer, folder) {
                // Whoever ended because of another's failure has none of its own.
                if !self.failed.swap(true, Ordering::Relaxed) {
                    return Err(trouble.in_layer(&layer.member));
                }
            }
        }
        Ok(())
    }

    fn unpack(&self, layer: &PlannedLayer, folder: &Path) -> Result<(), Trouble> {
        let stream = Until { stream: self.archive.layer(layer)?, failed: &self.failed };
        self.work.unpack_into(folder, stream, Some(&layer.diff_id)).map(drop)
    }
}

/// A stream that breaks when another one failed.
struct Until<'a, R> {
    stream: R,
    failed: &'a AtomicBool,
}

impl<R: Read> Read for Until<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("another layer cannot be unpacked"));
        }
        self.stream.read(buffer)
    }
}
