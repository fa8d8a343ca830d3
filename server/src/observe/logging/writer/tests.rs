use super::*;
use crate::observe::logging::receipt::Unwritten;

/// Takes `room` bytes, and then fails.
#[derive(Default)]
struct Disk {
    room: usize,
    bytes: Vec<u8>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room);
        if len == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= len;
        self.bytes.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queues and the end of a writer without its thread.
struct World {
    lines: Sender<Entry>,
    changes: Sender<Entry>,
    entries: AtomicU64,
    receivers: (Receiver<Entry>, Receiver<Entry>),
    metrics: Metrics,
}

impl World {
    fn new(limits: Limits) -> Self {
        let ((lines, line_items), (changes, change_items)) = (queue(limits), queue(limits));
        let receivers = (change_items, line_items);
        Self { lines, changes, entries: AtomicU64::new(0), receivers, metrics: Metrics::new() }
    }

    fn entry(&self, text: &str) -> Entry {
        let order = self.entries.fetch_add(1, Ordering::Relaxed);
        Entry { order, item: Item::Line(text.to_owned(), None) }
    }

    fn line(&self, text: &str) {
        let _ = self.lines.send(self.entry(text), text.len());
    }

    fn change(&self, text: &str) {
        let _ = self.changes.send(self.entry(text), text.len());
    }

    /// Writes all of it, and returns what the disk holds, without the times.
    async fn written(self, disk: &mut Disk) -> Vec<String> {
        let Self { lines, changes, receivers: (change_items, line_items), metrics, .. } = self;
        drop((lines, changes));
        let gap = Gap::new(Arc::default(), false);
        let losses = Losses::new("a disk", &metrics);
        write(change_items, line_items, Target::new(disk.by_ref(), gap), &losses).await;
        let text = String::from_utf8(disk.bytes.clone()).unwrap();
        let without_time =
            |line: &str| line.split_once(" level").map_or(line, |(_, line)| line).to_owned();
        text.lines().map(without_time).collect()
    }
}

#[test]
fn lines_that_are_lost_are_counted_and_do_not_spoil_those_after_them() {
    let metrics = Metrics::new();
    let losses = Losses::new("a disk", &metrics);
    let gap = Gap::new(Arc::default(), false);
    let mut target = Target::new(Disk { room: 10, ..Disk::default() }, gap);
    let line = |target: &mut Target<Disk>, text: &str| match target.write_alone(text) {
        Ok(()) => losses.end(),
        Err(error) => losses.by_failure(&error),
    };
    line(&mut target, "first\n");
    line(&mut target, "second\n");
    line(&mut target, "third\n");
    assert_eq!(metrics.dropped_lines.get(), 2);
    target.inner.room = 100;
    line(&mut target, "fourth\n");
    line(&mut target, "fifth\n");
    assert_eq!(String::from_utf8(target.inner.bytes).unwrap(), "first\nseco\nfourth\nfifth\n");
    assert_eq!(metrics.dropped_lines.get(), 2);
}

#[tokio::test]
async fn no_other_line_takes_the_room_of_changes_and_all_are_written_in_order() {
    let world = World::new(Limits { lines: 2, bytes: 100 });
    for number in 0..10 {
        world.line(&format!("refusal {number}\n"));
    }
    world.change("a change\n");
    world.change("another\n");
    let written = world.written(&mut Disk { room: 10_000, ..Disk::default() }).await;
    assert_eq!(
        written,
        [
            "refusal 0",
            "refusal 1",
            "=WARN msg=\"log lines are missing here: 8, of them about changes to keys: 0; they \
             were not read in time\"",
            "a change",
            "another",
        ]
    );
}

/// What one thread says is written in the order in which it says it, whatever the queues hold at
/// the moment at which the writer looks.
#[tokio::test]
async fn a_line_is_not_written_before_a_change_that_came_before_it() {
    const ENTRIES: usize = 10_000;
    let world = World::new(Limits { lines: ENTRIES, bytes: usize::MAX });
    let World { lines, changes, receivers: (change_items, line_items), metrics, entries } = world;
    let teller = thread::spawn(move || {
        for number in 0..ENTRIES {
            let order = entries.fetch_add(1, Ordering::Relaxed);
            let entry = Entry { order, item: Item::Line(format!("{number}\n"), None) };
            let queue = if number % 2 == 0 { &changes } else { &lines };
            assert!(queue.send(entry, 0).is_ok());
            // Gives the writer the time to wait for more.
            if number % 5 == 0 {
                thread::yield_now();
            }
        }
    });
    let mut disk = Disk { room: usize::MAX, ..Disk::default() };
    let target = Target::new(disk.by_ref(), Gap::new(Arc::default(), false));
    write(change_items, line_items, target, &Losses::new("a disk", &metrics)).await;
    teller.join().unwrap();
    let written = String::from_utf8(disk.bytes).unwrap();
    assert!(written.lines().eq((0..ENTRIES).map(|number| number.to_string())));
}

#[tokio::test]
async fn the_log_says_where_lines_are_missing_and_why() {
    let mut world = World::new(Limits { lines: 3, bytes: 100 });
    for number in 0..5 {
        world.change(&format!("change {number}\n"));
    }
    assert!(world.receivers.0.recv().await.is_some());
    world.change("the last change\n");
    let written = world.written(&mut Disk { room: 10_000, ..Disk::default() }).await;
    assert_eq!(
        written,
        [
            "change 1",
            "change 2",
            "=WARN msg=\"log lines are missing here: 2, of them about changes to keys: 2; they \
             were not read in time\"",
            "the last change",
        ]
    );
}

/// A disk that is full for a while.
#[tokio::test]
async fn lines_that_a_disk_does_not_take_are_told_in_front_of_the_next() {
    struct Full(Disk, u32);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1 <= 3 { Err(io::ErrorKind::StorageFull.into()) } else { self.0.write(bytes) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let world = World::new(LINES);
    for text in ["first\n", "second\n", "third\n"] {
        world.change(text);
    }
    let World { lines, changes, receivers: (change_items, line_items), metrics, .. } = world;
    drop((lines, changes));
    let losses = Losses::new("a disk", &metrics);
    let mut disk = Full(Disk { room: 10_000, ..Disk::default() }, 0);
    let target = Target::new(disk.by_ref(), Gap::new(Arc::default(), false));
    write(change_items, line_items, target, &losses).await;
    assert_eq!((metrics.dropped_lines.get(), metrics.lost_changes.get()), (3, 3));
    let text = String::from_utf8(disk.0.bytes).unwrap();
    let told = "log lines are missing here: 3, of them about changes to keys: 3; no storage space";
    assert!(text.contains(told), "{text}");
    assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 1, "{text}");
}

fn writer_to(target: std::fs::File, metrics: &Metrics) -> Writer {
    Writer::start("log-test", target, Arc::default(), Losses::new("a file", metrics))
}

#[tokio::test]
async fn a_receipt_is_signed_once_the_line_is_in_the_file() {
    let metrics = Metrics::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = writer_to(file.reopen().unwrap(), &metrics);
    assert!(!writer.discards());
    for number in 0..100 {
        assert_eq!(
            writer.change_with_receipt(6, format!("change {number}\n")).signed().await,
            Ok(())
        );
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.lines().last(), Some(&*format!("change {number}")));
    }

    let full = writer_to(std::fs::File::options().write(true).open("/dev/full").unwrap(), &metrics);
    assert!(!full.discards());
    let lost = full.change_with_receipt(6, "a change\n".to_owned());
    assert_eq!(lost.signed().await, Err(Unwritten::Lost));

    // Whatever is written there is gone.
    let null = writer_to(std::fs::File::options().write(true).open("/dev/null").unwrap(), &metrics);
    assert!(null.discards());
    let gone = null.change_with_receipt(6, "a change\n".to_owned());
    assert_eq!(gone.signed().await, Err(Unwritten::Discarded));
}

#[tokio::test]
async fn a_line_that_does_not_fit_into_the_queue_has_no_signature() {
    let world = World::new(Limits { lines: 1, bytes: 100 });
    let mut receipts = Vec::new();
    for number in 0..2 {
        let (signature, receipt) = receipt();
        let item = Item::Line(format!("change {number}\n"), Some(signature));
        let _ = world.changes.send(Entry { order: number, item }, 9);
        receipts.push(receipt);
    }
    world.written(&mut Disk { room: 10_000, ..Disk::default() }).await;
    let mut signed = Vec::new();
    for receipt in receipts {
        signed.push(receipt.signed().await);
    }
    assert_eq!(signed, [Ok(()), Err(Unwritten::Lost)]);
}
