//! `WWW-Authenticate`: how a registry wants to be told who asks (RFC 9110 11.6.1).
//!
//! Invariant: parsing takes time in proportion to the text, and any text yields challenges or none.

/// Longest header that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 8192;
/// Most challenges, and most parameters of one, that are kept.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

/// One way to say who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case, like `basic` or `bearer`.
    pub scheme: String,
    /// Names in lower case and values, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Parses the value of a `WWW-Authenticate` header, which may hold several challenges. What follows the first byte that
/// makes no sense is left out.
#[must_use]
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    if header.len() > MAX_HEADER_BYTES {
        return challenges;
    }
    let mut rest = Rest(header);
    loop {
        rest.skip_separators();
        let Some(word) = rest.token() else {
            return challenges;
        };
        let had_space = rest.skip_spaces();
        // A word before `=` is a parameter's name; one before anything else starts a challenge.
        if let (Some(challenge), true) = (challenges.last_mut(), rest.take('=')) {
            rest.skip_spaces();
            let Some(value) = rest.value() else {
                return challenges;
            };
            if challenge.parameters.len() < MAX_PARAMETERS {
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
            }
            continue;
        }
        if challenges.len() == MAX_CHALLENGES {
            return challenges;
        }
        challenges.push(Challenge {
            scheme: word.to_ascii_lowercase(),
            parameters: Vec::new(),
        });
        if had_space {
            rest.skip_token68();
        }
    }
}

/// What is left of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take_while(&mut self, matches: impl Fn(u8) -> bool) -> &'a str {
        // Only ASCII matches, so the cut is between characters.
        let end = self.0.bytes().position(|byte| !matches(byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }

    fn skip_spaces(&mut self) -> bool {
        !self.take_while(is_space).is_empty()
    }

    fn skip_separators(&mut self) {
        self.take_while(|byte| is_space(byte) || byte == b',');
    }

    fn take(&mut self, char: char) -> bool {
        match self.0.strip_prefix(char) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let token = self.take_while(is_token);
        (!token.is_empty()).then_some(token)
    }

    /// Skips what stands in place of parameters in schemes like `Negotiate`: one word of base64 up to a comma.
    fn skip_token68(&mut self) {
        let before = self.0;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        let padding = self.take_while(|byte| byte == b'=');
        self.skip_spaces();
        let is_at_end = self.0.is_empty() || self.0.starts_with(',');
        // `name=` followed by a comma is a parameter without a value, which makes no sense either way.
        if !is_at_end || (padding.is_empty() && !is_alone(before, self.0)) {
            self.0 = before;
        }
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if !self.take('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                char => value.push(char),
            }
        }
        self.0 = chars.as_str();
        Some(value)
    }
}

/// Whether the text between two rests is one that can't be the next challenge's scheme: base64 has other characters.
fn is_alone(before: &str, after: &str) -> bool {
    let text = &before[..before.len() - after.len()];
    text.trim_end().bytes().any(|byte| !is_token(byte))
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
