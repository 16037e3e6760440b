//! nginx as an origin of HTTP/1, HTTP/2 and HTTPS, with files, uploads, trailers and an early answer.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::generate_simple_self_signed;
use sidestep_tests::Pod;

use super::super::server::{Server, eventually_succeeds, write};

/// Where it speaks HTTP/1.
pub(super) const HTTP1: u16 = 8080;
/// Where it speaks HTTP/2 with prior knowledge.
pub(super) const HTTP2: u16 = 8082;
/// Where it speaks TLS.
pub(super) const HTTPS: u16 = 8443;
/// The name in its certificate.
pub(super) const NAME: &str = "web.example";
/// What it answers with at `/`.
pub(super) const PAGE: &str = "nginx was here";
/// How long `/files/large` is.
pub(super) const LARGE: usize = 32 << 20;

/// Starts it in a pod.
pub(super) fn nginx(pod: &Pod) -> Server {
    let server = Server::start(pod.app(), "nginx", |directory| {
        write(&directory.join("nginx.conf"), &configured(directory));
        write(&directory.join("small"), "0123456789");
        let large: Vec<u8> = (0..LARGE).map(|at| (at * 7 + at / 251) as u8).collect();
        std::fs::write(directory.join("large"), large)
            .unwrap_or_else(|error| panic!("write a file: {error}"));
        certify(directory);
        ["-p", &directory.display().to_string(), "-c", "nginx.conf"].map(str::to_owned).into()
    });
    // From the sidecar's cgroup, which no instance captures.
    for port in [HTTP1, HTTPS] {
        let url = format!("http{}://{}/", if port == HTTPS { "s" } else { "" }, pod.v4(port));
        eventually_succeeds(pod.sidecar(), "curl", &["-skSf".to_owned(), url]);
    }
    server
}

fn configured(directory: &Path) -> String {
    let root = directory.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           log_format seen '$remote_addr $server_protocol $request_method $uri $status $connection_requests';\n\
           access_log {root}/access.log seen;\n\
           client_body_temp_path {root}/body; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
           uwsgi_temp_path {root}; scgi_temp_path {root}; client_max_body_size 64m; keepalive_requests 1000000;\n\
           ssl_certificate {root}/tls.crt; ssl_certificate_key {root}/tls.key;\n\
           server {{\n\
             listen {HTTP1}; listen [::]:{HTTP1}; listen {HTTP2} http2; listen {HTTPS} ssl http2;\n\
             location / {{ return 200 '{PAGE}'; }}\n\
             location /nothing {{ return 204; }}\n\
             location /files/ {{ alias {root}/; add_header X-MiXeD-Case Yes; }}\n\
             location /trailer/ {{ alias {root}/; add_header Trailer X-Sum; add_trailer X-Sum abc123; }}\n\
             location /put/ {{ alias {root}/put/; dav_methods PUT DELETE; create_full_put_path on; }}\n\
             location /small-only/ {{ alias {root}/put/; dav_methods PUT; client_max_body_size 1k; }}\n\
           }}\n\
         }}\n"
    )
}

fn certify(directory: &Path) {
    let made =
        generate_simple_self_signed([NAME.to_owned()]).unwrap_or_else(|error| panic!("certify: {error}"));
    write(&directory.join("tls.crt"), &made.cert.pem());
    write(&directory.join("tls.key"), &made.signing_key.serialize_pem());
}

/// A URL at an address.
pub(super) fn url(to: SocketAddr, path: &str) -> String {
    format!("http://{to}{path}")
}
