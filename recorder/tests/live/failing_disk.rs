//! A file system whose disk fails with `EIO`, through FUSE: a folder of files in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// The operation that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// A file takes so many bytes and no more. It can be cut.
    Write(usize),
    /// The same, and it cannot be cut.
    WriteAndCut(usize),
    /// Written bytes never reach the disk.
    Sync,
}

/// A mounted disk. Dropped, it is unmounted.
pub(crate) struct FailingDisk {
    folder: PathBuf,
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

#[derive(Debug)]
struct Disk {
    fault: Fault,
    files: BTreeMap<u64, (OsString, Vec<u8>)>,
    /// The files that were synced, in order; the folder is `.`.
    synced: Vec<OsString>,
}

impl FailingDisk {
    pub(crate) fn mount(folder: PathBuf, fault: Fault) -> Self {
        std::fs::create_dir(&folder).unwrap();
        let disk = Disk { fault, files: BTreeMap::new(), synced: Vec::new() };
        let disk = Arc::new(Mutex::new(disk));
        let session = fuser::spawn_mount(Mounted(disk.clone()), &folder, &Config::default());
        Self { folder, disk, session: Some(session.unwrap()) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the files that were synced so far.
    pub(crate) fn synced(&self) -> Vec<OsString> {
        lock(&self.disk).synced.clone()
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().unwrap();
        }
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request of the kernel.
struct Mounted(Arc<Mutex<Disk>>);

/// Nothing is cached of names and sizes.
const TTL: Duration = Duration::ZERO;

impl Disk {
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let size = match ino {
            INodeNo::ROOT => 0,
            INodeNo(number) => self.files.get(&number)?.1.len() as u64,
        };
        let (kind, perm) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o700),
            _ => (FileType::RegularFile, 0o600),
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn write(&mut self, ino: INodeNo, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let (_, file) = self.files.get_mut(&ino.0).ok_or(Errno::ENOENT)?;
        let end = offset + data.len();
        if let Fault::Write(limit) | Fault::WriteAndCut(limit) = self.fault
            && end > limit
        {
            return Err(Errno::EIO);
        }
        file.resize(file.len().max(end), 0);
        file[offset..end].copy_from_slice(data);
        Ok(())
    }

    fn cut(&mut self, ino: INodeNo, size: usize) -> Result<(), Errno> {
        let (_, file) = self.files.get_mut(&ino.0).ok_or(Errno::ENOENT)?;
        if matches!(self.fault, Fault::WriteAndCut(_)) && !file.is_empty() {
            return Err(Errno::EIO);
        }
        file.resize(size, 0);
        Ok(())
    }

    fn sync(&mut self, name: Option<OsString>) -> Result<(), Errno> {
        self.synced.push(name.ok_or(Errno::ENOENT)?);
        if self.fault == Fault::Sync { Err(Errno::EIO) } else { Ok(()) }
    }
}

fn answer(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = lock(&self.0);
        let found = disk.files.iter().find(|(_, (known, _))| known == name);
        match found.and_then(|(&number, _)| disk.attributes(INodeNo(number))) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.0).attributes(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    #[allow(clippy::too_many_arguments)] // the trait's
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = lock(&self.0);
        let cut = size.map_or(Ok(()), |size| disk.cut(ino, size as usize));
        match cut.and_then(|()| disk.attributes(ino).ok_or(Errno::ENOENT)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        _parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = lock(&self.0);
        let number = disk.files.keys().next_back().map_or(2, |last| last + 1);
        disk.files.insert(number, (name.to_owned(), Vec::new()));
        match disk.attributes(INodeNo(number)) {
            Some(attributes) => reply.created(
                &TTL,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let disk = lock(&self.0);
        let Some((_, file)) = disk.files.get(&ino.0) else { return reply.error(Errno::ENOENT) };
        let rest = file.get(offset as usize..).unwrap_or_default();
        reply.data(&rest[..rest.len().min(size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.0).write(ino, offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        let mut disk = lock(&self.0);
        let name = disk.files.get(&ino.0).map(|(name, _)| name.clone());
        answer(reply, disk.sync(name));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        answer(reply, lock(&self.0).sync(Some(".".into())));
    }

    fn unlink(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        lock(&self.0).files.retain(|_, (known, _)| known != name);
        reply.ok();
    }

    /// Asked at each close; the default logs that there is none.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
