//! Requests to services: a real instance, real endpoints, and resources as people write them.

mod attempts;
mod limits;
mod rules;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::config::{Config, load};
use crate::proxy::{Neighbours, Routing, Unknown};

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// Answers with this status.
    Say(u16),
    /// Answers with 200 after a while.
    Late(Duration),
    /// Closes the connection without a word.
    Hang,
}

/// A request as an endpoint got it.
#[derive(Clone, Debug)]
struct Got {
    head: String,
    body: String,
}

type Manner = Arc<dyn Fn(usize, &Got) -> Reply + Send + Sync>;

/// An endpoint, which answers with its own name.
struct App {
    got: Arc<Mutex<Vec<Got>>>,
    busy: Arc<AtomicUsize>,
    /// Most requests that it had at a time.
    busiest: Arc<AtomicUsize>,
    /// Connections on which it was asked.
    connections: Arc<AtomicUsize>,
}

impl App {
    async fn start(name: &'static str, listener: TcpListener, manner: Manner) -> Self {
        let app = Self {
            got: Arc::default(),
            busy: Arc::default(),
            busiest: Arc::default(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&app.connections);
        let (got, busy, busiest) = (Arc::clone(&app.got), Arc::clone(&app.busy), Arc::clone(&app.busiest));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (got, manner) = (Arc::clone(&got), Arc::clone(&manner));
                let (busy, busiest) = (Arc::clone(&busy), Arc::clone(&busiest));
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let mut stream = tokio::io::BufReader::new(stream);
                    let mut asked = false;
                    while let Some(request) = read_request(&mut stream).await {
                        if !std::mem::replace(&mut asked, true) {
                            connections.fetch_add(1, Ordering::SeqCst);
                        }
                        busiest.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let number = {
                            let mut got = got.lock().unwrap();
                            got.push(request.clone());
                            got.len()
                        };
                        let reply = manner(number, &request);
                        if let Reply::Late(time) = reply {
                            tokio::time::sleep(time).await;
                        }
                        busy.fetch_sub(1, Ordering::SeqCst);
                        let status = match reply {
                            Reply::Say(status) => status,
                            Reply::Late(_) => 200,
                            Reply::Hang => return,
                        };
                        let answer = format!(
                            "HTTP/1.1 {status} Said\r\nx-app: {name}\r\ncontent-length: {}\r\n\r\n{name}",
                            name.len()
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        app
    }

    fn asked(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    fn last(&self) -> Got {
        self.got.lock().unwrap().last().cloned().expect("it was asked")
    }
}

async fn read_request(stream: &mut tokio::io::BufReader<TcpStream>) -> Option<Got> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Got { head, body: String::from_utf8(body).unwrap() })
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// An answer as a client got it.
#[derive(Debug)]
struct Answered {
    status: u16,
    head: String,
    body: String,
}

/// Services with endpoints of the test's own, behind an instance; captured connections go to the service `web`.
struct Shop {
    bench: Bench,
    apps: HashMap<&'static str, App>,
    directory: TempDir,
    services: String,
    config: Config,
}

/// Services by name, each with its endpoints by theirs; an endpoint without a manner is not there.
type Wanted = Vec<(&'static str, Vec<(&'static str, Option<Manner>)>)>;

fn manner(manner: impl Fn(usize, &Got) -> Reply + Send + Sync + 'static) -> Option<Manner> {
    Some(Arc::new(manner))
}

fn good() -> Option<Manner> {
    manner(|_, _| Reply::Say(200))
}

impl Shop {
    async fn open(wanted: Wanted, resources: &str, more: &str) -> Self {
        let mut services = "services:\n".to_owned();
        let mut apps = HashMap::new();
        for (index, (service, endpoints)) in wanted.into_iter().enumerate() {
            let (port, mut listeners) = listeners(endpoints.len()).await;
            let mut addresses = Vec::new();
            for (name, manner) in endpoints {
                let listener = listeners.remove(0);
                addresses.push(listener.local_addr().unwrap().ip().to_string());
                if let Some(manner) = manner {
                    apps.insert(name, App::start(name, listener, manner).await);
                }
            }
            services.push_str(&format!(
                "- {{ hostname: {service}.shop.svc.cluster.local, addresses: [ 10.96.0.{} ], ports: [ {{ port: 80, \
                 target-port: {port} }} ], endpoints: [ {} ] }}\n",
                index + 1,
                addresses.join(", ")
            ));
        }
        services.push_str(more);
        let bench = Bench::start(Entry::Outbound, LIMITS, Some("10.96.0.1:80".parse().unwrap()));
        bench.instance.set_http(looking());
        let directory = tempfile::tempdir().unwrap();
        let config = configured(&directory, &services, resources);
        assert_eq!(config.resources.rejected(), [], "{resources}");
        let mut shop = Self { bench, apps, directory, services, config: Config::default() };
        shop.apply(config);
        shop
    }

    /// Changes the resources as a reload does.
    fn reload(&mut self, resources: &str) {
        let config = configured(&self.directory, &self.services, resources).keeping(&self.config);
        self.apply(config);
    }

    fn apply(&mut self, config: Config) {
        let neighbours = Neighbours::new(Arc::clone(&config.directory), Unknown::Relay);
        self.bench.instance.set_neighbours(neighbours);
        self.bench.instance.set_routing(Routing {
            routes: config.routes(),
            destinations: config.destinations(),
            rate_limits: config.rate_limits.clone(),
        });
        self.config = config;
    }

    fn app(&self, name: &str) -> &App {
        &self.apps[name]
    }

    async fn client(&self) -> TcpStream {
        self.bench.connect().await
    }

    /// The answer to a request on a connection of its own.
    async fn ask(&self, request: &str) -> Answered {
        ask(&mut self.client().await, request).await
    }

    async fn get(&self, target: &str) -> Answered {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: web.shop\r\n\r\n")).await
    }

    async fn exchanges(&self, count: usize) -> Vec<Exchange> {
        eventually(|| self.bench.seen.exchanged.lock().unwrap().len() >= count).await;
        std::mem::take(&mut *self.bench.seen.exchanged.lock().unwrap())
    }

    /// The one request that is over.
    async fn told(&self) -> Exchange {
        let mut told = self.exchanges(1).await;
        assert_eq!(told.len(), 1);
        told.remove(0)
    }
}

async fn ask(client: &mut TcpStream, request: &str) -> Answered {
    within(client.write_all(request.as_bytes())).await.unwrap();
    let head = head(client).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    within(client.read_exact(&mut body)).await.unwrap();
    Answered { status, head, body: String::from_utf8(body).unwrap() }
}

fn configured(directory: &TempDir, services: &str, resources: &str) -> Config {
    let (path, routes) = (directory.path().join("sidestep.yaml"), directory.path().join("routes.yaml"));
    std::fs::write(&routes, resources).unwrap();
    std::fs::write(&path, format!("{services}routes: [ {} ]\n", routes.display())).unwrap();
    load(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// Listeners at one port of several addresses; nobody listens at one that is dropped.
async fn listeners(count: usize) -> (u16, Vec<TcpListener>) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    'search: loop {
        let base = NEXT.fetch_add(count, Ordering::Relaxed);
        let ip = |index: usize| {
            let number = u16::try_from((base + index) % 60_000).unwrap().to_be_bytes();
            std::net::Ipv4Addr::new(127, 77, number[0], number[1].max(1))
        };
        let first = TcpListener::bind((ip(0), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut all = vec![first];
        for index in 1..count {
            match TcpListener::bind((ip(index), port)).await {
                Ok(listener) => all.push(listener),
                Err(_) => continue 'search,
            }
        }
        return (port, all);
    }
}

/// An `HTTPRoute` for the service `web`.
fn route(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         parentRefs: [ {{ group: \"\", kind: Service, name: web }} ]\n  rules:\n{rules}\n"
    )
}

/// A `DestinationRule` for the service `web`.
fn destination(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: web, namespace: shop }}\nspec:\n  \
         host: web\n  trafficPolicy: {{ {policy} }}\n"
    )
}
