//! Messages of HTTP/1 read as strictly as RFC 9112 lets a reader be: the measure of what was sent and of what was forwarded.
//!
//! It shares nothing with the product. What it does not understand is malformed, never repaired.

use std::fmt;

/// A request and where it ended.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Its method.
    pub(super) method: String,
    /// Its target as it came.
    pub(super) target: String,
    /// Its fields in their order, names as they came.
    pub(super) fields: Vec<(String, String)>,
    /// Its body without framing.
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The values of a field.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.fields, name)
    }

    /// What must not change on the way: method, target, host, body.
    pub(super) fn essence(&self) -> (&str, &str, Vec<&str>, &[u8]) {
        (&self.method, &self.target, self.values("host").collect(), &self.body)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        write!(formatter, "{} {} {:?} {body:?}", self.method, self.target, self.fields)
    }
}

/// How a sequence of messages ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a message.
    Clean,
    /// Within a message.
    Partial,
    /// With something that is none.
    Malformed(&'static str),
}

/// Everything on one direction of a connection.
pub(super) fn requests(bytes: &[u8]) -> (Vec<Request>, End) {
    let (found, end, _) = sequence(bytes);
    (found, end)
}

/// The same, with the place where the last whole request ended.
pub(super) fn sequence(bytes: &[u8]) -> (Vec<Request>, End, usize) {
    let mut reader = Reader { bytes, at: 0 };
    let mut found = Vec::new();
    loop {
        let began = reader.at;
        if began == bytes.len() {
            return (found, End::Clean, began);
        }
        match reader.request() {
            Ok(request) => found.push(request),
            Err(end) => return (found, end, began),
        }
    }
}

/// An answer as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Its fields in their order.
    pub(super) fields: Vec<(String, String)>,
    /// Its body without framing, as far as it came.
    pub(super) body: Vec<u8>,
    /// Whether it came to an end that says that it is whole.
    pub(super) end: End,
}

impl Answer {
    /// The values of a field.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.fields, name)
    }

    /// Whether a client takes it for a success.
    pub(super) fn is_clean_success(&self) -> bool {
        self.end == End::Clean && (200..400).contains(&self.status)
    }
}

/// The final answers to GET in what a client got, interim ones left out. A body without a length is whole if the connection
/// `ended` in order.
pub(super) fn answers(bytes: &[u8], ended: bool) -> Result<Vec<Answer>, &'static str> {
    let mut reader = Reader { bytes, at: 0 };
    let mut found = Vec::new();
    while reader.at < bytes.len() {
        let Some(answer) = reader.answer(ended)? else { continue };
        let end = answer.end.clone();
        found.push(answer);
        if end != End::Clean {
            break;
        }
    }
    Ok(found)
}

fn values<'a>(fields: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// How much of a body there is to come.
enum Framing {
    Length(u64),
    Chunked,
    UntilTheEnd,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn request(&mut self) -> Result<Request, End> {
        let mut line = self.line()?;
        // One empty line in front is nothing (RFC 9112, section 2.2).
        if line.is_empty() {
            line = self.line()?;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else { return Err(End::Malformed("request line")) };
        if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(End::Malformed("request line"));
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let old = match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ => return Err(End::Malformed("version")),
        };
        let fields = self.fields()?;
        if values(&fields, "host").count() > 1 || (!old && values(&fields, "host").count() == 0) {
            return Err(End::Malformed("host"));
        }
        let framing = framing(&fields, old)?.unwrap_or(Framing::Length(0));
        let body = self.body(&framing)?;
        Ok(Request { method, target, fields, body })
    }

    fn answer(&mut self, ended: bool) -> Result<Option<Answer>, &'static str> {
        let mut answer = Answer { status: 0, fields: Vec::new(), body: Vec::new(), end: End::Partial };
        let Ok(line) = self.line() else {
            self.at = self.bytes.len();
            return Ok(Some(answer));
        };
        let code = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
        let code = code.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        answer.status = code.filter(|code| (100..600).contains(code)).ok_or("no status line")?;
        match self.fields() {
            Ok(fields) => answer.fields = fields,
            Err(End::Partial) => {
                self.at = self.bytes.len();
                return Ok(Some(answer));
            }
            Err(_) => return Err("malformed fields"),
        }
        if answer.status < 200 && answer.status != 101 {
            return Ok(None);
        }
        let framing = match answer.status {
            101 => Framing::UntilTheEnd,
            204 | 304 => Framing::Length(0),
            _ => framing(&answer.fields, false)
                .map_err(|_| "malformed framing")?
                .unwrap_or(Framing::UntilTheEnd),
        };
        let began = self.at;
        answer.end = match self.body(&framing) {
            Ok(body) => {
                answer.body = body;
                match framing {
                    Framing::UntilTheEnd if !ended => End::Partial,
                    _ => End::Clean,
                }
            }
            Err(end) => {
                answer.body = self.bytes[began..].to_vec();
                self.at = self.bytes.len();
                end
            }
        };
        Ok(Some(answer))
    }

    /// Up to CR LF, without it.
    fn line(&mut self) -> Result<String, End> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\0'))
            || line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r')
        {
            return Err(End::Malformed("a line with a control character"));
        }
        let Some(end) = end else { return Err(End::Partial) };
        self.at += end + 2;
        Ok(line.iter().map(|&byte| char::from(byte)).collect())
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, End> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or(End::Malformed("a field without a colon"))?;
            if !is_token(name) {
                return Err(End::Malformed("a field's name"));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    fn body(&mut self, framing: &Framing) -> Result<Vec<u8>, End> {
        match framing {
            Framing::Length(length) => Ok(self.take(*length)?.to_vec()),
            Framing::UntilTheEnd => Ok(self.take((self.bytes.len() - self.at) as u64)?.to_vec()),
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let line = self.line()?;
                    let size = line.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
                    let digits = !size.is_empty()
                        && size.len() < 16
                        && size.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = u64::from_str_radix(size, 16).ok().filter(|_| digits);
                    match size.ok_or(End::Malformed("a chunk's size"))? {
                        0 => {
                            self.fields()?;
                            return Ok(body);
                        }
                        size => body.extend_from_slice(self.take(size)?),
                    }
                    if !self.line()?.is_empty() {
                        return Err(End::Malformed("a chunk's end"));
                    }
                }
            }
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], End> {
        let left = &self.bytes[self.at..];
        let length = usize::try_from(length).map_err(|_| End::Partial)?;
        let taken = left.get(..length).ok_or(End::Partial)?;
        self.at += length;
        Ok(taken)
    }
}

/// RFC 9112, section 6.3, with every choice that it leaves made for refusal; `old` is a message of HTTP/1.0.
fn framing(fields: &[(String, String)], old: bool) -> Result<Option<Framing>, End> {
    let codings: Vec<&str> = values(fields, "transfer-encoding").collect();
    let lengths: Vec<&str> = values(fields, "content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([], [first, rest @ ..]) => {
            let digits = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
            let alike = rest.iter().all(|other| other == first);
            let length = first.parse().ok().filter(|_| digits && alike);
            length.map(Framing::Length).map(Some).ok_or(End::Malformed("Content-Length"))
        }
        ([coding], []) if !old && coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(End::Malformed("Transfer-Encoding")),
    }
}

fn is_token(text: &str) -> bool {
    let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}
