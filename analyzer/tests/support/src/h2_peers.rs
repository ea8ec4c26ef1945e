//! Real clients and servers of HTTP/2 (the `h2` crate) that talk over memory: their plans are the
//! truth, and the bytes on the wire are kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use sslrec_formats::record::Direction;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Name and value pairs in the order in which they are sent.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The plan of a message.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub headers: HeaderMap,
    /// Pieces in which the body is handed over.
    pub body: Vec<Bytes>,
    pub trailers: HeaderMap,
}

impl Said {
    pub fn fields(&self) -> Pairs {
        pairs(&self.headers)
    }

    pub fn trailer_fields(&self) -> Pairs {
        pairs(&self.trailers)
    }

    pub fn body(&self) -> Vec<u8> {
        self.body.concat()
    }
}

/// Of a map, in the order in which it is sent.
pub fn pairs(map: &HeaderMap) -> Pairs {
    let pairs = map.iter();
    pairs.map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())).collect()
}

/// The plan of an exchange.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its stream, once it is known.
    pub stream: u32,
    pub method: Method,
    pub authority: String,
    pub path: String,
    pub request: Said,
    pub interim: Vec<(StatusCode, HeaderMap)>,
    pub status: StatusCode,
    pub response: Said,
    /// The server resets the stream instead of ending it.
    pub reset: Option<h2::Reason>,
    /// It is not asked for: the server pushes it with the exchange before it.
    pub pushed: bool,
}

/// How the two ends are set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub client_table: u32,
    pub server_table: u32,
    pub max_frame: u32,
    /// How many exchanges run at a time.
    pub parallel: usize,
    /// Size of the pipe between them.
    pub pipe: usize,
}

/// Numbers that look random and are the same each time (xorshift64*).
pub struct Random(pub u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn text(&mut self, max: u64) -> String {
        const OCTETS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_/=;, ABCXYZ%&*(){}\"~^|<>";
        let len = self.below(max + 1);
        let text: Vec<u8> =
            (0..len).map(|_| OCTETS[self.below(OCTETS.len() as u64) as usize]).collect();
        String::from_utf8(text).unwrap().trim().to_owned()
    }

    fn fields(&mut self, max: u64) -> HeaderMap {
        const NAMES: [&str; 14] = [
            "accept",
            "cookie",
            "user-agent",
            "x-a",
            "x-b",
            "x-long-name-of-a-field",
            "set-cookie",
            "content-type",
            "etag",
            "authorization",
            "x-c",
            "referer",
            "date",
            "server",
        ];
        let mut fields = HeaderMap::new();
        for _ in 0..self.below(max + 1) {
            let name = match self.below(10) {
                0 => format!("x-{}", self.below(30)),
                _ => NAMES[self.below(NAMES.len() as u64) as usize].to_owned(),
            };
            let long = if self.one_in(40) { 6000 } else { 40 };
            let text = match self.below(3) {
                0 => format!("value {}", self.below(6)),
                _ => self.text(long),
            };
            let mut octets = text.into_bytes();
            if self.one_in(20) {
                octets.push(0xe9);
            }
            let mut value = HeaderValue::from_bytes(&octets).unwrap();
            value.set_sensitive(self.one_in(8));
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        fields
    }

    fn said(&mut self) -> Said {
        let count = if self.one_in(2) { 0 } else { self.below(4) };
        let body = (0..count).map(|_| {
            let len = if self.one_in(5) { 40_000 } else { 300 };
            let len = self.below(len) as usize;
            // Content that looks like frames to a reader that is out of step.
            let octet = [0, 0, 1, 4, b'x'][self.below(5) as usize];
            (0..len).map(|at| if at % 9 == 8 { at as u8 } else { octet }).collect::<Bytes>()
        });
        let body: Vec<Bytes> = body.collect();
        let trailers = if self.one_in(4) { self.fields(3) } else { HeaderMap::new() };
        Said { headers: self.fields(8), body, trailers }
    }

    /// Some exchanges.
    pub fn plans(&mut self, count: usize) -> Vec<Plan> {
        let methods = ["GET", "POST", "PUT", "DELETE", "PURGE", "OPTIONS"];
        let statuses = [200, 200, 200, 204, 206, 301, 304, 400, 404, 418, 500, 503];
        let plan = |at: usize, random: &mut Self| Plan {
            stream: 0,
            method: methods[random.below(6) as usize].parse().unwrap(),
            authority: ["example.org", "api.example.org:8443"][random.below(2) as usize].into(),
            path: match random.below(4) {
                0 => "/".to_owned(),
                1 => "/index.html".to_owned(),
                _ => format!("/{}?q={}", random.below(20), random.below(1000)),
            },
            request: random.said(),
            interim: (0..if random.one_in(6) { 2 } else { 0 })
                .map(|_| (StatusCode::EARLY_HINTS, random.fields(3)))
                .collect(),
            status: StatusCode::from_u16(statuses[random.below(12) as usize]).unwrap(),
            response: random.said(),
            reset: random.one_in(12).then_some(h2::Reason::ENHANCE_YOUR_CALM),
            pushed: at > 0 && random.one_in(10),
        };
        let mut plans: Vec<Plan> = (0..count).map(|at| plan(at, self)).collect();
        for at in 1..count {
            if plans[at].pushed {
                let before = plans[at - 1].pushed || plans[at - 1].reset.is_some();
                plans[at].pushed = !before;
            }
            if plans[at].pushed {
                plans[at].method = Method::GET;
                plans[at].request.body.clear();
                plans[at].request.trailers.clear();
                plans[at].interim.clear();
                // The client of this crate takes the two together for a protocol error.
                plans[at - 1].interim.clear();
                plans[at].reset = None;
                plans[at].response.body.truncate(1);
                plans[at].response.body.iter_mut().for_each(|body| body.truncate(200));
            }
        }
        for (at, plan) in plans.iter_mut().enumerate() {
            plan.request.headers.insert("x-plan", at.into());
        }
        plans
    }
}

/// Calls of an end, in order.
pub type Calls = Vec<(Direction, Vec<u8>)>;

/// The client's end of the pipe; keeps the bytes of both directions.
struct Tap {
    inner: DuplexStream,
    calls: Arc<Mutex<Calls>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            self.calls.lock().unwrap().push((Direction::Received, new.to_vec()));
        }
        outcome
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(len)) = outcome {
            self.calls.lock().unwrap().push((Direction::Sent, buf[..len].to_vec()));
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Runs the plans on both ends. Returns the calls of the client's end, and the plans with their
/// streams.
pub fn run(setup: Setup, plans: Vec<Plan>) -> (Calls, Vec<Plan>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let calls = Arc::new(Mutex::new(Calls::new()));
    let plans = Arc::new(Mutex::new(plans));
    let (client_end, server_end) = tokio::io::duplex(setup.pipe);
    let tap = Tap { inner: client_end, calls: calls.clone() };
    local.block_on(&runtime, async {
        tokio::task::spawn_local(serve(setup, server_end, plans.clone()));
        ask_all(setup, tap, plans.clone()).await;
    });
    // Tasks that still run hold clones.
    drop(local);
    drop(runtime);
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    let plans = std::mem::take(&mut *plans.lock().unwrap());
    (calls, plans)
}

async fn say(mut stream: h2::SendStream<Bytes>, said: &Said) {
    let last = said.body.len().saturating_sub(1);
    for (at, piece) in said.body.iter().enumerate() {
        let end = at == last && said.trailers.is_empty();
        // The peer may have reset the stream.
        if stream.send_data(piece.clone(), end).is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    if !said.trailers.is_empty() {
        let _ = stream.send_trailers(said.trailers.clone());
    }
}

fn is_only_head(said: &Said) -> bool {
    said.body.is_empty() && said.trailers.is_empty()
}

async fn drain(mut body: h2::RecvStream) {
    while let Some(Ok(bytes)) = body.data().await {
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    let _ = body.trailers().await;
}

async fn ask_all(setup: Setup, tap: Tap, plans: Arc<Mutex<Vec<Plan>>>) {
    let (client, connection) = h2::client::Builder::new()
        .header_table_size(setup.client_table)
        .max_frame_size(setup.max_frame)
        .max_header_list_size(1 << 20)
        .handshake::<_, Bytes>(tap)
        .await
        .unwrap();
    let connection = tokio::task::spawn_local(connection);
    let count = plans.lock().unwrap().len();
    let asked: Vec<usize> = (0..count).filter(|&at| !plans.lock().unwrap()[at].pushed).collect();
    for batch in asked.chunks(setup.parallel) {
        let tasks: Vec<_> = batch
            .iter()
            .map(|&at| tokio::task::spawn_local(ask(client.clone(), plans.clone(), at)))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    drop(client);
    let _ = connection.await;
}

async fn ask(client: h2::client::SendRequest<Bytes>, plans: Arc<Mutex<Vec<Plan>>>, at: usize) {
    let mut client = client.ready().await.unwrap();
    let plan = plans.lock().unwrap()[at].clone();
    let request = head(&plan);
    let (mut response, stream) = client.send_request(request, is_only_head(&plan.request)).unwrap();
    plans.lock().unwrap()[at].stream = response.stream_id().as_u32();
    let mut pushes = response.push_promises();
    tokio::join!(
        say(stream, &plan.request),
        async {
            if let Ok(response) = response.await {
                drain(response.into_body()).await;
            }
        },
        async {
            while let Some(Ok(push)) = pushes.push_promise().await {
                if let Ok(response) = push.into_parts().1.await {
                    drain(response.into_body()).await;
                }
            }
        }
    );
}

fn head(plan: &Plan) -> Request<()> {
    let uri = format!("https://{}{}", plan.authority, plan.path);
    let mut request = Request::builder().method(plan.method.clone()).uri(uri).body(()).unwrap();
    *request.headers_mut() = plan.request.headers.clone();
    request
}

async fn serve(setup: Setup, pipe: DuplexStream, plans: Arc<Mutex<Vec<Plan>>>) {
    let mut connection = h2::server::Builder::new()
        .header_table_size(setup.server_table)
        .max_frame_size(setup.max_frame)
        .max_header_list_size(1 << 20)
        .handshake::<_, Bytes>(pipe)
        .await
        .unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(answer(request, respond, plans.clone()));
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    plans: Arc<Mutex<Vec<Plan>>>,
) {
    let at: usize = request.headers()["x-plan"].to_str().unwrap().parse().unwrap();
    let plan = plans.lock().unwrap()[at].clone();
    let next = plans.lock().unwrap().get(at + 1).cloned();
    for (status, fields) in &plan.interim {
        let mut interim = Response::builder().status(*status).body(()).unwrap();
        *interim.headers_mut() = fields.clone();
        respond.send_informational(interim).unwrap();
    }
    let mut pushed = None;
    if let Some(next) = next.filter(|next| next.pushed) {
        let mut stream = respond.push_request(head(&next)).unwrap();
        plans.lock().unwrap()[at + 1].stream = stream.stream_id().as_u32();
        let only_head = is_only_head(&next.response);
        let body = stream.send_response(response(&next), only_head).unwrap();
        pushed = Some((body, next.response));
    }
    let only_head = is_only_head(&plan.response) && plan.reset.is_none();
    let mut stream = respond.send_response(response(&plan), only_head).unwrap();
    let body = request.into_body();
    if let Some(reason) = plan.reset {
        drain(body).await;
        stream.send_reset(reason);
    } else {
        tokio::join!(drain(body), say(stream, &plan.response));
    }
    if let Some((stream, said)) = pushed {
        say(stream, &said).await;
    }
}

fn response(plan: &Plan) -> Response<()> {
    let mut response = Response::builder().status(plan.status).body(()).unwrap();
    *response.headers_mut() = plan.response.headers.clone();
    response
}
