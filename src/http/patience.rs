//! A socket that gives up on readers who do not read. What is written for them stays in memory until they do, and a
//! stream of events would hold one old document for each of them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Longest time for taking everything that waits to be written: the largest document over a bad mobile line is done in
/// a third of it.
pub(super) const TAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that ends with an error when its reader is too slow.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    /// Runs while something waits to be written. A few bytes taken now and then do not stop it.
    late: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, late: None }
    }

    /// Lets `written` pass while the reader is in time.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        wanted: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(&written, Poll::Ready(Ok(taken)) if *taken >= wanted) {
            self.late = None;
            return written;
        }
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKE_TIMEOUT)));
        if late.as_mut().poll(context).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
            return Poll::Ready(Err(error));
        }
        written
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, wanted, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// More than the kernel keeps for a reader who does not read.
    const MUCH: usize = 64 << 20;

    async fn pair() -> (Patient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap());
        let (reader, accepted) = tokio::join!(reader, listener.accept());
        (Patient::new(accepted.unwrap().0), reader.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (mut writer, reader) = pair().await;
        let error = writer.write_all(&vec![0; MUCH]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_help() {
        let (mut writer, mut reader) = pair().await;
        let trickle = async {
            loop {
                tokio::time::sleep(TAKE_TIMEOUT / 10).await;
                drop(reader.read_u8().await);
            }
        };
        let much = vec![0; MUCH];
        let ended = tokio::select! {
            ended = writer.write_all(&much) => ended,
            () = trickle => Ok(()),
        };
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_may_take_any_number_of_answers() {
        let (mut writer, mut reader) = pair().await;
        let answer = vec![0; 1 << 20];
        for _ in 0..5 {
            let mut taken = vec![0; answer.len()];
            let (wrote, read) = tokio::join!(writer.write_all(&answer), async {
                tokio::time::sleep(TAKE_TIMEOUT / 2).await;
                reader.read_exact(&mut taken).await
            });
            wrote.unwrap();
            read.unwrap();
        }
    }
}
