//! A connection that can fall silent: below TLS, so that not even a handshake or a ping is answered.

use super::lock;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Default)]
struct State {
    on: bool,
    waiting: Vec<Waker>,
}

/// Shared by all connections of a proxy.
#[derive(Clone, Default)]
pub(super) struct BlackHole(Arc<Mutex<State>>);

impl BlackHole {
    pub(super) fn set(&self, on: bool) {
        let waiting = {
            let mut state = lock(&self.0);
            state.on = on;
            if on { Vec::new() } else { std::mem::take(&mut state.waiting) }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_open(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if !state.on {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// What arrives while the hole is on stays in the kernel's buffers and is read when it is off again, as packets
/// that are sent again after an outage would be.
pub(super) struct SilencedStream {
    stream: TcpStream,
    black_hole: BlackHole,
}

impl SilencedStream {
    pub(super) fn new(stream: TcpStream, black_hole: BlackHole) -> SilencedStream {
        SilencedStream { stream, black_hole }
    }
}

impl AsyncRead for SilencedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.black_hole.poll_open(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SilencedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.black_hole.poll_open(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.black_hole.poll_open(context));
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.black_hole.poll_open(context));
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
