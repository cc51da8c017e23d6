//! Addresses of registries, and those that registries point to.
//!
//! Invariant: an address names a host and a port and holds no user or password; what is shown of it has no query.

use std::fmt;

use ureq::http::Uri;

/// Longest address that is followed, in bytes.
const MAX_URL_BYTES: usize = 16 << 10;
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Who is spoken to, and how. Credentials and tokens belong to one origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_https: bool,
    /// The host in lower case, an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) origin: Origin,
    path: String,
    query: Option<String>,
}

impl Url {
    /// The address of `path` at `host`, which is `HOST` or `HOST:PORT`.
    pub(crate) fn new(is_https: bool, host: &str, path: &str) -> Option<Self> {
        let scheme = if is_https { "https" } else { "http" };
        Self::parse(&format!("{scheme}://{host}{path}"))
    }

    /// Parses a whole address; only those of HTTP are any.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_URL_BYTES {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let default_port = if is_https { HTTPS_PORT } else { HTTP_PORT };
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            None if has_port => return None,
            port => port.unwrap_or(default_port),
        };
        let origin = Origin {
            is_https,
            host: authority.host().to_ascii_lowercase(),
            port,
        };
        Some(Self {
            origin,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The address that a `Location` header at this one means: a whole one, or one that is relative to this one.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next()?.trim();
        if location.is_empty() {
            return None;
        }
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        let scheme = if self.origin.is_https {
            "https"
        } else {
            "http"
        };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let base = format!("{scheme}://{}", self.origin.authority());
        if location.starts_with('/') {
            return Self::parse(&format!("{base}{location}"));
        }
        if location.starts_with('?') {
            return Self::parse(&format!("{base}{}{location}", self.path));
        }
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Self::parse(&format!("{base}{folder}/{location}"))
    }

    /// Adds a parameter to the query.
    pub(crate) fn with_parameter(mut self, name: &str, value: &str) -> Self {
        let mut query = self.query.take().unwrap_or_default();
        if !query.is_empty() && !query.ends_with('&') {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        percent_encode(value, &mut query);
        self.query = Some(query);
        self
    }

    /// The address as it is sent.
    pub(crate) fn to_text(&self) -> String {
        match &self.query {
            Some(query) => format!("{self}?{query}"),
            None => self.to_string(),
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// The address without its query, which may hold signatures.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.is_https {
            "https"
        } else {
            "http"
        };
        write!(f, "{scheme}://{}{}", self.origin.authority(), self.path)
    }
}

impl Origin {
    /// `HOST`, or `HOST:PORT` where the port is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        match (self.is_https, self.port) {
            (true, HTTPS_PORT) | (false, HTTP_PORT) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Appends `text` with all but letters, digits and `-._~` written as `%XX`, as both queries and forms take it.
pub(crate) fn percent_encode(text: &str, to: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(char::from(DIGITS[usize::from(byte >> 4)]));
            to.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests;
