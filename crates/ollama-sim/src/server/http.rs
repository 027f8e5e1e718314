//! One request: its body in, its answer out. A dropped connection is noticed by the drop of what stands here.

use super::shared::{Frame, Shared};
use super::{HEADER, HEADER_VALUE, control, host};
use crate::api::{BLOBS, BODY_MAX};
use crate::rules::{Body, Call, CallId};
use crate::store::hex;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Frame as HttpFrame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// First bytes of a GGUF file.
const MAGIC: &[u8] = b"GGUF";

/// The connection is to be closed without an answer, or without the rest of one.
#[derive(Debug, thiserror::Error)]
#[error("the simulated server closed the connection")]
pub(super) struct Closed;

pub(super) async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Answer>, Closed> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let method = head.method.as_str().to_owned();
    let foreign = head
        .headers
        .get(HOST)
        .is_some_and(|host| !host.to_str().is_ok_and(host::is_local));
    if shared.loopback && foreign {
        return Ok(plain(StatusCode::FORBIDDEN, ""));
    }
    let read = if path.starts_with(BLOBS) {
        upload(body).await
    } else {
        whole(body).await
    };
    let body = match read {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    if path.starts_with(control::PREFIX) {
        return Ok(control::answer(&method, &path, &body, &shared));
    }
    let (id, mut frames) = shared.call(Call { method, path, body });
    let guard = Guard { id, shared };
    match frames.recv().await {
        Some(Frame::Reply(reply)) => Ok(response(
            reply.status,
            reply.content_type,
            Answer::whole(reply.body),
        )),
        Some(Frame::Begin(status, kind)) => {
            Ok(response(status, kind, Answer::stream(frames, guard)))
        }
        Some(Frame::Data(_) | Frame::End) | None => Err(Closed),
    }
}

type Refused = Result<Response<Answer>, Closed>;

async fn whole(body: Incoming) -> Result<Body, Refused> {
    let too_large = || {
        Ok(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the simulation reads at most 8 MiB of JSON",
        ))
    };
    // Who announces too much is not waited for.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(all) => Ok(Body::Bytes(all.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Err(Closed)),
    }
}

/// Counts and hashes; weights are never kept.
async fn upload(mut body: Incoming) -> Result<Body, Refused> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut size = 0_u64;
    let mut start: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Err(Closed))?.into_data() else {
            continue;
        };
        hash.update(&data);
        size += data.len() as u64;
        start.extend(data.iter().take(MAGIC.len().saturating_sub(start.len())));
    }
    let sha256 = hex(hash.finish().as_ref());
    Ok(Body::File {
        sha256,
        size,
        gguf: start == MAGIC,
    })
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Answer> {
    response(
        status.as_u16(),
        Some("text/plain"),
        Answer::whole(Bytes::from_static(text.as_bytes())),
    )
}

pub(super) fn response(status: u16, kind: Option<&'static str>, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(HEADER, HeaderValue::from_static(HEADER_VALUE));
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// Tells the rules when nobody waits any more.
#[derive(Debug)]
pub(super) struct Guard {
    id: CallId,
    shared: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.gone(self.id);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Full<Bytes>),
    Stream {
        frames: Receiver<Frame>,
        ended: bool,
        _guard: Guard,
    },
}

impl Answer {
    pub(super) fn whole(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }

    fn stream(frames: Receiver<Frame>, guard: Guard) -> Self {
        Self::Stream {
            frames,
            ended: false,
            _guard: guard,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Closed>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Stream { ended: true, .. } => Poll::Ready(None),
            Self::Stream { frames, ended, .. } => match frames.poll_recv(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Frame::Data(piece))) => {
                    Poll::Ready(Some(Ok(HttpFrame::data(piece))))
                }
                Poll::Ready(Some(Frame::End)) => {
                    *ended = true;
                    Poll::Ready(None)
                }
                Poll::Ready(_) => Poll::Ready(Some(Err(Closed))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}
