//! Requests that proxies and servers have read in different ways, byte by byte.
//!
//! `@` stands for the number of the case, so that whatever arrives upstream can be told whose it is.

/// A case: what it is called, and what a client writes.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// What is found in everything that the case makes anybody send.
    pub(super) mark: String,
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let groups: [&[(&str, &str)]; 6] = [&GOOD, &LENGTHS, &CODINGS, &CHUNKS, &FIELDS, &LINES];
    let all = groups.concat();
    let made = |(number, (name, text)): (usize, &(&'static str, &str))| Case {
        name,
        bytes: text.replace('@', &format!("c{number}.")).into_bytes(),
        mark: format!("c{number}."),
    };
    all.iter().enumerate().map(made).collect()
}

/// What there is nothing wrong with: these have to pass.
pub(super) const GOOD: [(&str, &str); 12] = [
    ("one request", "GET /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("two requests at once", "GET /@a HTTP/1.1\r\nHost: @\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n"),
    (
        "a body that looks like a request",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 36\r\n\r\nGET /hidden HTTP/1.1\r\nHost: hidden\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    ("chunks", "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (
        "chunks with an extension and trailers",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b;c\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "Chunked with a capital",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "sizes with capitals and zeros",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n000\r\n\r\n",
    ),
    ("an empty line in front", "\r\nGET /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("HTTP/1.0", "GET /@ HTTP/1.0\r\nHost: @\r\n\r\n"),
    ("no length and no body", "POST /@ HTTP/1.1\r\nHost: @\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("OPTIONS of everything", "OPTIONS * HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("bytes above 127 in a value", "GET /@ HTTP/1.1\r\nHost: @\r\nX-Name: M\u{fc}ller\r\n\r\n"),
];

/// Content-Length that can be read in two ways.
const LENGTHS: [(&str, &str); 17] = [
    (
        "two different lengths",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ),
    (
        "two equal lengths",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    ("a list of equal lengths", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("a list of lengths", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 5, 6\r\n\r\nhello!"),
    ("a length with a plus", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: +5\r\n\r\nhello"),
    ("a length with a minus", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: -5\r\n\r\nhello"),
    ("a length with a blank inside", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 1 5\r\n\r\nhello"),
    ("a length in hexadecimal", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("a length with a fraction", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 5.0\r\n\r\nhello"),
    ("an empty length", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length:\r\n\r\nhello"),
    (
        "a length above 64 bits",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    ),
    (
        "a length with an underscore",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent_Length: 5\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "a length of a GET",
        "GET /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 33\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    ("a length in HTTP/1.0", "POST /@ HTTP/1.0\r\nHost: @\r\nContent-Length: 5\r\n\r\nhello"),
    ("a length that nobody keeps to", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 500\r\n\r\nhello"),
    (
        "a length named by Connection",
        "POST /@ HTTP/1.1\r\nHost: @\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhelloGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    ("a length with a vertical tab", "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: \u{b}5\r\n\r\nhello"),
];

/// Transfer-Encoding that can be read in two ways, most of them with a length beside it.
const CODINGS: [(&str, &str); 20] = [
    (
        "length and chunked",
        "POST /@ HTTP/1.1\r\nHost: @\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
    ),
    (
        "chunked and length",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /@hidden HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked and cow",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity and chunked",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a list that ends in chunked",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a list that begins with chunked",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("gzip and chunked", "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (
        "xchunked",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("xchunked alone", "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked with a quote",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a vertical tab",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: \u{b}chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a parameter",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked;q=1\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a comma behind",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked,\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "an empty coding",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "a blank before the colon",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded coding",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in HTTP/1.0",
        "POST /@ HTTP/1.0\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunked in HTTP/1.0, kept alive",
        "POST /@ HTTP/1.0\r\nHost: @\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /@hidden HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
];

/// Chunks that can be read in two ways.
const CHUNKS: [(&str, &str); 16] = [
    (
        "a negative size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a size with a plus",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a size with 0x",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a size above 64 bits",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a huge size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ),
    ("no size", "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"),
    (
        "a size that is none",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a blank before the size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a blank within the size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "an underscore in the size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "data longer than its size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a bare LF behind a size",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    ),
    (
        "a bare LF behind data",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    ),
    (
        "a bare LF in an extension",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n4a\r\n0\r\n\r\nGET /@hidden HTTP/1.1\r\nHost: @\r\nContent-Length: 5\r\n\r\n\r\n0\r\n\r\n",
    ),
    (
        "a bare LF behind the last chunk",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /@hidden HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "a length in the trailers",
        "POST /@ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 50\r\nHost: evil\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
];

/// Fields that can be read in two ways.
const FIELDS: [(&str, &str); 22] = [
    ("no host", "GET /@ HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two hosts", "GET /@ HTTP/1.1\r\nHost: @\r\nHost: evil\r\n\r\n"),
    ("two equal hosts", "GET /@ HTTP/1.1\r\nHost: @\r\nHost: @\r\n\r\n"),
    ("a list of hosts", "GET /@ HTTP/1.1\r\nHost: @, evil\r\n\r\n"),
    ("a host with a blank", "GET /@ HTTP/1.1\r\nHost: @ evil\r\n\r\n"),
    ("a host with a path", "GET /@ HTTP/1.1\r\nHost: @/evil\r\n\r\n"),
    ("a host with a user", "GET /@ HTTP/1.1\r\nHost: evil@@\r\n\r\n"),
    ("an empty host", "GET /@ HTTP/1.1\r\nHost:\r\n\r\n"),
    ("an absolute target of another host", "GET http://evil/@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("an absolute target", "GET http://@/@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a folded field", "GET /@ HTTP/1.1\r\nHost: @\r\nX-A: b\r\n c\r\n\r\n"),
    ("a folded first field", "GET /@ HTTP/1.1\r\n Host: @\r\nHost: @\r\n\r\n"),
    ("a NUL in a value", "GET /@ HTTP/1.1\r\nHost: @\r\nX-A: b\0c\r\n\r\n"),
    ("a CR in a value", "GET /@ HTTP/1.1\r\nHost: @\r\nX-A: b\rX-B: c\r\n\r\n"),
    ("a bare LF behind a field", "GET /@ HTTP/1.1\r\nHost: @\nX-A: b\r\n\r\n"),
    ("bare LFs everywhere", "GET /@ HTTP/1.1\nHost: @\n\n"),
    ("a field without a colon", "GET /@ HTTP/1.1\r\nHost: @\r\nX-A\r\n\r\n"),
    ("a field without a name", "GET /@ HTTP/1.1\r\nHost: @\r\n: b\r\n\r\n"),
    ("a name with a blank", "GET /@ HTTP/1.1\r\nHost: @\r\nX A: b\r\n\r\n"),
    ("a name with a parenthesis", "GET /@ HTTP/1.1\r\nHost: @\r\nX(A): b\r\n\r\n"),
    (
        "bytes sent before a switch is agreed to",
        "GET /@ HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "a switch to HTTP/2",
        "GET /@ HTTP/1.1\r\nHost: @\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\nGET /@b HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
];

/// Lines of a request that can be read in two ways.
const LINES: [(&str, &str); 19] = [
    ("HTTP/1.2", "GET /@ HTTP/1.2\r\nHost: @\r\n\r\n"),
    ("HTTP/2.0", "GET /@ HTTP/2.0\r\nHost: @\r\n\r\n"),
    ("HTTP/0.9", "GET /@\r\n\r\n"),
    ("HTTP/1.1 with a digit more", "GET /@ HTTP/1.10\r\nHost: @\r\n\r\n"),
    ("http/1.1", "GET /@ http/1.1\r\nHost: @\r\n\r\n"),
    ("no version but a blank", "GET /@ \r\nHost: @\r\n\r\n"),
    ("two blanks", "GET  /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a blank behind the version", "GET /@ HTTP/1.1 \r\nHost: @\r\n\r\n"),
    ("a blank in front", " GET /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a tab between", "GET\t/@\tHTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a blank within the target", "GET /@ b HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a method with a colon", "GE:T /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a method with a parenthesis", "GET( /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a method in lower case", "get /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a method of one's own", "M-SEARCH /@ HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a target with a NUL", "GET /@\0b HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a target with a CR", "GET /@\rb HTTP/1.1\r\nHost: @\r\n\r\n"),
    ("a target without a slash", "GET @ HTTP/1.1\r\nHost: @\r\n\r\n"),
    (
        "bytes behind CONNECT",
        "CONNECT @:80 HTTP/1.1\r\nHost: @:80\r\n\r\nGET /@hidden HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
];
