//! One direction of a connection: a state machine that copies, splices while that pays, and carries the end.
//!
//! It holds bytes in one place at a time (the rest of a partial write, or a pipe), so that they cannot change order.

use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::{Lent, Pipes};
use super::{scratch, socket};

/// How many reads or splices one flow may make before it lets others run.
const ROUNDS: u32 = 16;
/// How many full reads in a row make a flow bulk: half a megabyte, and the relay was the slower one all along.
const BULK_AFTER: u32 = 8;
/// A spliced flow that moved less than this between two waits is copied again: it costs three calls against two.
const BULK_LEAST: usize = 32 * 1024;

/// Why a flow stopped before its end.
#[derive(Debug)]
pub(in crate::proxy) enum Stop {
    /// Reading failed.
    Source(io::Error),
    /// Writing failed.
    Sink(io::Error),
}

/// One direction.
pub(super) struct Flow<'a> {
    source: &'a TcpStream,
    sink: &'a TcpStream,
    pipes: &'a Pipes,
    state: State<'a>,
    /// Bytes that the sink took.
    moved: &'a mut u64,
    /// Full reads in a row.
    streak: u32,
}

enum State<'a> {
    /// Reads into scratch and writes at once.
    Copying,
    /// The sink did not take all of a read; nothing more is read before it has.
    Owing(Rest),
    /// Moves bytes through a pipe.
    Splicing(Splicing<'a>),
    /// The source has ended and the sink was told.
    Ended,
}

/// How the sink is told that the source has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Here: the other direction goes on.
    Shutdown,
    /// By whoever closes both sockets at once when this flow is ready: the other direction has ended before.
    Close,
}

/// What is left of a partial write.
struct Rest {
    bytes: Box<[u8]>,
    written: usize,
}

#[derive(Default)]
struct Splicing<'a> {
    /// Borrowed while bytes move; a flow that waits for its source has none.
    pipe: Option<Lent<'a>>,
    /// Bytes read since the flow last waited for its source.
    batch: usize,
}

impl<'a> Flow<'a> {
    pub(super) const fn new(
        source: &'a TcpStream,
        sink: &'a TcpStream,
        pipes: &'a Pipes,
        moved: &'a mut u64,
    ) -> Self {
        Self { source, sink, pipes, state: State::Copying, moved, streak: 0 }
    }

    /// How many bytes the sink took.
    pub(super) const fn moved(&self) -> u64 {
        *self.moved
    }

    /// Whether the source has ended and nothing of it is left.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the flow reads from its source now, and so learns of a reset by itself.
    pub(super) fn reads(&self) -> bool {
        match &self.state {
            State::Copying => true,
            State::Splicing(splicing) => splicing.pipe.as_ref().is_none_or(|pipe| pipe.held() == 0),
            State::Owing(_) | State::Ended => false,
        }
    }

    /// Moves what can be moved. Ready once the source has ended, all its bytes were written and the sink was told.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, farewell: Farewell) -> Poll<Result<(), Stop>> {
        for _ in 0..ROUNDS {
            ready!(match &self.state {
                State::Copying => self.copy(context, farewell),
                State::Owing(_) => self.settle(context),
                State::Splicing(_) => self.splice(context, farewell),
                State::Ended => return Poll::Ready(Ok(())),
            })?;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read and the write of what it brought.
    fn copy(&mut self, context: &mut Context<'_>, farewell: Farewell) -> Poll<Result<(), Stop>> {
        scratch::with(|scratch| {
            let read = ready!(socket::poll_read(self.source, context, scratch)).map_err(Stop::Source)?;
            let bytes = &scratch[..read];
            if bytes.is_empty() {
                return Poll::Ready(self.end(farewell));
            }
            self.streak = if bytes.len() == scratch::SIZE { self.streak + 1 } else { 0 };
            let written = match socket::poll_write(self.sink, context, bytes) {
                Poll::Ready(written) => written.map_err(Stop::Sink)?,
                Poll::Pending => 0,
            };
            *self.moved += written as u64;
            if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                self.state = State::Owing(Rest { bytes: rest.into(), written: 0 });
            } else if self.streak >= BULK_AFTER {
                self.state = State::Splicing(Splicing::default());
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Writes what an earlier write left.
    fn settle(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let State::Owing(rest) = &mut self.state else { return Poll::Ready(Ok(())) };
        while let Some(bytes) = rest.bytes.get(rest.written..).filter(|bytes| !bytes.is_empty()) {
            let written = ready!(socket::poll_write(self.sink, context, bytes)).map_err(Stop::Sink)?;
            if written == 0 {
                return Poll::Ready(Err(Stop::Sink(io::ErrorKind::WriteZero.into())));
            }
            rest.written += written;
            *self.moved += written as u64;
        }
        self.state = State::Copying;
        Poll::Ready(Ok(()))
    }

    /// One splice: out of the pipe while it holds something, else into it.
    fn splice(&mut self, context: &mut Context<'_>, farewell: Farewell) -> Poll<Result<(), Stop>> {
        let State::Splicing(splicing) = &mut self.state else { return Poll::Ready(Ok(())) };
        if let Some(pipe) = splicing.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let sink = self.sink;
            ready!(sink.poll_write_ready(context)).map_err(Stop::Sink)?;
            match sink.try_io(Interest::WRITABLE, || pipe.drain(sink)) {
                Ok(0) => return Poll::Ready(Err(Stop::Sink(io::ErrorKind::WriteZero.into()))),
                Ok(written) => *self.moved += written as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(Stop::Sink(error))),
            }
            return Poll::Ready(Ok(()));
        }

        let source = self.source;
        let Poll::Ready(readable) = source.poll_read_ready(context) else {
            // Nothing to read now. Whether it stays bulk is told by how much there was.
            let bulk = splicing.batch >= BULK_LEAST;
            self.state = if bulk { State::Splicing(Splicing::default()) } else { State::Copying };
            self.streak = 0;
            return Poll::Pending;
        };
        readable.map_err(Stop::Source)?;
        if splicing.pipe.is_none() {
            splicing.pipe = self.pipes.lend();
        }
        let Some(pipe) = &mut splicing.pipe else {
            self.recopy();
            return Poll::Ready(Ok(()));
        };
        match source.try_io(Interest::READABLE, || pipe.fill(source)) {
            Ok(0) => return Poll::Ready(self.end(farewell)),
            Ok(read) => splicing.batch += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Not the connection's fault: a socket that cannot be spliced, or no memory. Nothing was read.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOMEM)) => self.recopy(),
            Err(error) => return Poll::Ready(Err(Stop::Source(error))),
        }
        Poll::Ready(Ok(()))
    }

    fn recopy(&mut self) {
        self.state = State::Copying;
        self.streak = 0;
    }

    /// Carries the end of the source on. Everything read before was written.
    fn end(&mut self, farewell: Farewell) -> Result<(), Stop> {
        if farewell == Farewell::Shutdown {
            SockRef::from(self.sink).shutdown(Shutdown::Write).map_err(Stop::Sink)?;
        }
        self.state = State::Ended;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::pipe::CAPACITY;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    impl Flow<'_> {
        /// Bytes that were read and not yet written.
        fn held(&self) -> usize {
            match &self.state {
                State::Owing(rest) => rest.bytes.len() - rest.written,
                State::Splicing(splicing) => splicing.pipe.as_ref().map_or(0, Lent::held),
                State::Copying | State::Ended => 0,
            }
        }
    }

    /// Both ends of two connections: (writer, source) and (sink, reader).
    async fn streams() -> [TcpStream; 4] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let writer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (source, _) = listener.accept().await.unwrap();
        let sink = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reader, _) = listener.accept().await.unwrap();
        [writer, source, sink, reader]
    }

    #[tokio::test]
    async fn a_blocked_flow_holds_no_more_than_one_pipe_and_delivers_all_of_it_later() {
        let [writer, source, sink, mut reader] = streams().await;
        let (pipes, mut moved) = (Pipes::default(), 0);
        let mut flow = Flow::new(&source, &sink, &pipes, &mut moved);
        let piece = vec![1; 256 * 1024];
        let mut sent = 0;
        let blocked = poll_fn(|context| {
            let mut progress = true;
            while std::mem::take(&mut progress) {
                assert!(flow.poll(context, Farewell::Shutdown).is_pending());
                while let Poll::Ready(written) = socket::poll_write(&writer, context, &piece) {
                    sent += written.unwrap();
                    progress = true;
                }
            }
            if flow.reads() { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::time::timeout(PATIENCE, blocked).await.expect("the flow reads although nobody takes anything");
        assert!((1..=CAPACITY).contains(&flow.held()), "a blocked flow holds {} bytes", flow.held());

        drop(writer);
        let mut heard = Vec::new();
        let (ended, read) = tokio::join!(
            poll_fn(|context| flow.poll(context, Farewell::Shutdown)),
            reader.read_to_end(&mut heard)
        );
        ended.unwrap();
        assert_eq!((read.unwrap(), heard.len()), (sent, sent));
    }

    #[tokio::test]
    async fn a_waiting_flow_holds_nothing() {
        let [mut writer, source, sink, mut reader] = streams().await;
        let (pipes, mut moved) = (Pipes::default(), 0);
        let mut flow = Flow::new(&source, &sink, &pipes, &mut moved);
        let piece = vec![1; 8 << 20];
        let mut heard = vec![0; piece.len()];
        let passed = async { tokio::join!(writer.write_all(&piece), reader.read_exact(&mut heard)) };
        let mut spliced = false;
        let mut passed = std::pin::pin!(passed);
        poll_fn(|context| {
            assert!(flow.poll(context, Farewell::Shutdown).is_pending());
            spliced |= matches!(flow.state, State::Splicing(_));
            passed.as_mut().poll(context)
        })
        .await
        .0
        .unwrap();
        assert!(spliced, "eight megabytes in one go did not make the flow bulk");
        while flow.poll(&mut Context::from_waker(Waker::noop()), Farewell::Shutdown).is_ready() {}
        assert_eq!(flow.held(), 0);
        assert_eq!(pipes.in_use(), 0, "a waiting flow keeps its pipe");
    }
}
