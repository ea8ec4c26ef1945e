//! Writes a raw log: collects records into frames, compresses each frame at once, and passes it to
//! the output in a single write.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use zstd::zstd_safe::{CCtx, CParameter, compress_bound, get_error_name};

use super::{
    CHECKPOINT_INTERVAL, FRAME_TARGET, OPENING_MAGIC, OPENING_NAME, PAYLOAD_LIMIT, REPEATED,
    SEEK_TABLE_FOOTER_MAGIC, SEEK_TABLE_MAGIC, VERSION, encode,
};
use crate::io::{Error, RecordWriter};
use crate::record::{
    CaptureInfo, Connection, Data, Direction, Gap, GapCause, PerDirection, Process, Record,
};

/// Longest duration of a frame, which limits the loss when a recorder is killed.
const FRAME_DURATION: Duration = Duration::from_secs(1);

/// Writes the records of a capture as a raw log.
///
/// A frame is closed at 1 MiB, one second after its first record (detected at the next record), and
/// by [`RecordWriter::flush`]. The output receives complete frames only. A writer that is dropped
/// without [`RecordWriter::finish`] discards the unfinished frame.
///
/// Memory: one frame before and after compression, the compressor, and a description of each live
/// connection and of each process that has not ended; 8 bytes per frame for the seek table.
pub struct RawLogWriter<W: Write> {
    out: W,
    info: CaptureInfo,
    compressor: CCtx<'static>,
    frame: Frame,
    compressed: Vec<u8>,
    processes: HashMap<u32, Described<Process>>,
    /// In boxes, so that the table grows without new memory for all connections.
    connections: HashMap<u64, Box<Live>>,
    /// Compressed and uncompressed size of each frame so far, for the seek table.
    sizes: Vec<(u32, u32)>,
    records_total: u64,
    /// The latest time seen, the capture's beginning included. A description of a connection has
    /// the time of its beginning, which is unrelated to the duration of the frame.
    latest_ts_ns: u64,
    bytes_written: u64,
    /// An earlier file exists.
    goes_on: bool,
    /// No more may be written: the file is complete, or a write failed half-way.
    ended: bool,
}

/// The contents of the unfinished frame. Empty if there is none.
#[derive(Default)]
struct Frame {
    contents: Vec<u8>,
    seq: u64,
    records: u32,
    first_ts_ns: u64,
    opened: Option<Instant>,
    /// Contents before this are covered by a checkpoint.
    checked: usize,
}

/// A process or connection that each frame describes before it refers to it.
struct Described<T> {
    value: T,
    /// The last frame with a description; `None` if this file has none yet.
    frame_seq: Option<u64>,
}

/// A live connection.
struct Live {
    described: Described<Connection>,
    /// The next stream offset in each direction.
    reached: PerDirection<u64>,
}

impl<W: Write> RawLogWriter<W> {
    /// Begins a raw log, compressed at zstd's `level`; see [`DEFAULT_LEVEL`](super::DEFAULT_LEVEL).
    ///
    /// # Errors
    /// The output refused the first bytes.
    pub fn new(out: W, info: CaptureInfo, level: i32) -> Result<Self, Error> {
        let mut compressor = CCtx::create();
        compressor.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_error)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(zstd_error)?;
        let mut writer = Self {
            out,
            latest_ts_ns: info.start_ns,
            info,
            compressor,
            frame: Frame::default(),
            compressed: Vec::new(),
            processes: HashMap::new(),
            connections: HashMap::new(),
            sizes: Vec::new(),
            records_total: 0,
            bytes_written: 0,
            goes_on: false,
            ended: false,
        };
        writer.begin()?;
        Ok(writer)
    }

    /// Completes the file and continues in another file, to which `switch` redirects the output.
    /// Live connections are described again there, and their earlier bytes are marked as in an
    /// [earlier file](GapCause::EarlierFile).
    ///
    /// # Errors
    /// Either file could not be written.
    pub fn next_file(
        &mut self,
        switch: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Error> {
        self.finish()?;
        switch(&mut self.out)?;
        self.ended = false;
        self.goes_on = true;
        self.frame.seq = 0;
        self.sizes.clear();
        self.records_total = 0;
        self.bytes_written = 0;
        self.processes.values_mut().for_each(|process| process.frame_seq = None);
        self.connections.values_mut().for_each(|live| live.described.frame_seq = None);
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.write_opening()?;
        // A frame without records, so that even an empty file describes its capture.
        self.open_frame(self.info.start_ns);
        self.close_frame()
    }

    /// Returns the number of bytes passed to the output so far, in complete frames. After a failed
    /// write, the output is valid up to here.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Returns the output.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Returns the output. Data that was not flushed is lost.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write_opening(&mut self) -> Result<(), Error> {
        self.compressed.extend_from_slice(&OPENING_MAGIC.to_le_bytes());
        self.compressed.extend_from_slice(&8u32.to_le_bytes());
        self.compressed.extend_from_slice(OPENING_NAME);
        self.compressed.extend_from_slice(&VERSION.to_le_bytes());
        self.sizes.push((self.compressed.len() as u32, 0));
        self.write_compressed()
    }

    fn open_frame(&mut self, first_ts_ns: u64) {
        encode::frame_head(&mut self.frame.contents, &self.info, self.frame.seq, first_ts_ns);
        self.frame.first_ts_ns = first_ts_ns;
        self.frame.opened = Some(Instant::now());
    }

    fn close_frame(&mut self) -> Result<(), Error> {
        if self.frame.contents.is_empty() {
            return Ok(());
        }
        encode::set_record_count(&mut self.frame.contents, self.frame.records);
        self.compressed.reserve(compress_bound(self.frame.contents.len()));
        self.compressor
            .compress2(&mut self.compressed, &self.frame.contents)
            .map_err(zstd_error)?;
        self.sizes.push((self.compressed.len() as u32, self.frame.contents.len() as u32));
        let seq = self.frame.seq + 1;
        let mut contents = std::mem::take(&mut self.frame.contents);
        contents.clear();
        self.frame = Frame { contents, seq, ..Frame::default() };
        self.write_compressed()
    }

    /// Passes `compressed` to the output and empties it.
    fn write_compressed(&mut self) -> Result<(), Error> {
        // Until the write succeeds the end of the file is uncertain, and nothing may follow.
        self.ended = true;
        self.out.write_all(&self.compressed)?;
        self.ended = false;
        self.bytes_written += self.compressed.len() as u64;
        self.compressed.clear();
        Ok(())
    }

    /// Makes room for a record of this time: begins a new frame if it is due.
    fn prepare_frame(&mut self, ts_ns: u64) -> Result<(), Error> {
        self.latest_ts_ns = self.latest_ts_ns.max(ts_ns);
        let ts_ns = self.latest_ts_ns;
        let is_old = self.frame.opened.is_some_and(|opened| {
            ts_ns.saturating_sub(self.frame.first_ts_ns) >= FRAME_DURATION.as_nanos() as u64
                || opened.elapsed() >= FRAME_DURATION
        });
        if is_old || self.frame.contents.len() >= FRAME_TARGET {
            self.close_frame()?;
        }
        if self.frame.contents.is_empty() {
            self.open_frame(ts_ns);
        }
        Ok(())
    }

    /// Describes the connection and its process in this frame, unless they are described already.
    fn repeat_connection(&mut self, conn: u64) {
        let Some(live) = self.connections.get_mut(&conn) else { return };
        let described = &mut live.described;
        if described.frame_seq == Some(self.frame.seq) {
            return;
        }
        described.frame_seq = Some(self.frame.seq);
        let pid = described.value.pid;
        repeat_process(&mut self.processes, &mut self.frame, pid);
        encode::connection(&mut self.frame.contents, &described.value, REPEATED);
    }

    /// Describes in this file the process and connection of the record if only earlier files do.
    fn resume(&mut self, record: &Record<'_>) {
        if let Record::Connection(connection) = record {
            self.resume_process(connection.pid);
        }
        let Some(conn) = record.conn() else { return };
        let Some(live) = self.connections.get(&conn) else { return };
        let Live { described, reached } = &**live;
        if described.frame_seq.is_some() {
            return;
        }
        let (connection, reached) = (described.value.clone(), *reached);
        self.resume_process(connection.pid);
        self.add(&Record::Connection(connection));
        let (ts_ns, cause) = (record.ts_ns(), GapCause::EarlierFile);
        for (dir, &len) in reached.iter() {
            if len > 0 {
                self.add(&Record::Gap(Gap { conn, ts_ns, dir, offset: 0, len, cause }));
            }
        }
    }

    fn resume_process(&mut self, pid: u32) {
        if let Some(process) = self.processes.get(&pid)
            && process.frame_seq.is_none()
        {
            self.add(&Record::Process(process.value.clone()));
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        let frame_seq = Some(self.frame.seq);
        match record {
            Record::Process(process) => {
                let described = Described { value: process.clone(), frame_seq };
                self.processes.insert(process.pid, described);
            }
            Record::Connection(connection) => {
                repeat_process(&mut self.processes, &mut self.frame, connection.pid);
                let described = Described { value: connection.clone(), frame_seq };
                let reached = self.connections.get(&connection.conn).map(|live| live.reached);
                let live = Live { described, reached: reached.unwrap_or_default() };
                self.connections.insert(connection.conn, Box::new(live));
            }
            Record::Close(close) => {
                self.repeat_connection(close.conn);
                self.connections.remove(&close.conn);
            }
            Record::Data(data) => {
                self.repeat_connection(data.conn);
                let end = data.offset.saturating_add(data.payload.len() as u64);
                self.reach(data.conn, data.dir, end);
            }
            Record::Gap(gap) => {
                self.repeat_connection(gap.conn);
                self.reach(gap.conn, gap.dir, gap.offset.saturating_add(gap.len));
            }
            Record::Handshake(handshake) => self.repeat_connection(handshake.conn),
            Record::Exit(exit) => {
                self.processes.remove(&exit.pid);
            }
            Record::Coverage(_) | Record::Stats(_) => {}
        }
        encode::record(&mut self.frame.contents, record);
        self.frame.records += 1;
        self.records_total += 1;
        self.frame.checkpoint_if_due();
    }

    fn reach(&mut self, conn: u64, dir: Direction, offset: u64) {
        let Some(live) = self.connections.get_mut(&conn) else { return };
        let next = &mut live.reached[dir];
        *next = offset.max(*next);
    }

    fn add_data(&mut self, data: &Data<'_>) -> Result<(), Error> {
        let mut done = 0;
        for payload in data.payload.chunks(PAYLOAD_LIMIT) {
            self.prepare_frame(data.ts_ns)?;
            self.add(&Record::Data(Data {
                payload,
                offset: data.offset.saturating_add(done),
                call_offset: data.call_offset.saturating_add(done),
                ..data.clone()
            }));
            done += payload.len() as u64;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.ended {
            return Err(io::Error::other("the raw log has ended or failed before").into());
        }
        Ok(())
    }

    fn write_seek_table(&mut self) -> Result<(), Error> {
        let table_len = self.sizes.len() * 8 + 9;
        let out = &mut self.compressed;
        out.extend_from_slice(&SEEK_TABLE_MAGIC.to_le_bytes());
        out.extend_from_slice(&(table_len as u32).to_le_bytes());
        for (compressed, uncompressed) in &self.sizes {
            out.extend_from_slice(&compressed.to_le_bytes());
            out.extend_from_slice(&uncompressed.to_le_bytes());
        }
        out.extend_from_slice(&(self.sizes.len() as u32).to_le_bytes());
        out.push(0); // no checksums here, the frames have them
        out.extend_from_slice(&SEEK_TABLE_FOOTER_MAGIC.to_le_bytes());
        self.write_compressed()
    }
}

impl<W: Write> RecordWriter for RawLogWriter<W> {
    fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        self.check_open()?;
        self.prepare_frame(record.ts_ns())?;
        if self.goes_on {
            self.resume(record);
        }
        match record {
            Record::Data(data) if data.payload.len() > PAYLOAD_LIMIT => self.add_data(data),
            _ => {
                self.add(record);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.check_open()?;
        self.close_frame()?;
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.check_open()?;
        if self.frame.contents.is_empty() {
            self.open_frame(self.latest_ts_ns);
        }
        encode::end(&mut self.frame.contents, self.records_total);
        self.close_frame()?;
        self.write_seek_table()?;
        self.ended = true;
        Ok(self.out.flush()?)
    }
}

impl Frame {
    fn checkpoint_if_due(&mut self) {
        if self.contents.len() - self.checked >= CHECKPOINT_INTERVAL {
            let crc = crc32fast::hash(&self.contents[self.checked..]);
            encode::checkpoint(&mut self.contents, crc);
            self.checked = self.contents.len();
        }
    }
}

/// Describes the process in this frame, unless it is described already.
fn repeat_process(processes: &mut HashMap<u32, Described<Process>>, frame: &mut Frame, pid: u32) {
    let Some(described) = processes.get_mut(&pid) else { return };
    if described.frame_seq != Some(frame.seq) {
        described.frame_seq = Some(frame.seq);
        encode::process(&mut frame.contents, &described.value, REPEATED);
    }
}

fn zstd_error(code: usize) -> Error {
    io::Error::other(format!("zstd: {}", get_error_name(code))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Exit;

    #[test]
    fn ended_processes_are_forgotten() {
        let mut writer = RawLogWriter::new(io::sink(), CaptureInfo::default(), 1).unwrap();
        for pid in 1..=1000 {
            writer.write(&Record::Process(Process { pid, ..Process::default() })).unwrap();
            writer.write(&Record::Exit(Exit { ts_ns: 1, pid })).unwrap();
        }
        assert!(writer.processes.is_empty());
    }
}
