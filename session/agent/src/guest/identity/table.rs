//! The form that `/etc/passwd` and its siblings share: a row a line, with colons between its fields (passwd(5)).
//!
//! Invariant: rows that are not changed keep their bytes, whatever those are.

#[cfg(test)]
mod tests;

/// A table that is being changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    rows: Vec<Row>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    fields: Vec<Vec<u8>>,
}

impl Table {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Self::default();
        }
        let row = |line: &[u8]| Row {
            fields: line
                .split(|byte| *byte == b':')
                .map(<[u8]>::to_vec)
                .collect(),
        };
        Self {
            rows: bytes.split(|byte| *byte == b'\n').map(row).collect(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in &self.rows {
            bytes.extend(row.fields.join(&b':'));
            bytes.push(b'\n');
        }
        bytes
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.is_called(name))
    }

    /// The row of this name, which is added as `new` says if there is none.
    pub(super) fn entry(&mut self, name: &str, new: impl FnOnce() -> Vec<String>) -> &mut Row {
        let at = self.rows.iter().position(|row| row.is_called(name));
        let at = at.unwrap_or_else(|| {
            let fields = new().into_iter().map(String::into_bytes).collect();
            self.rows.push(Row { fields });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The row of this name, to be changed.
    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.is_called(name))
    }
}

impl Row {
    fn is_called(&self, name: &str) -> bool {
        // A line without a colon is a remark, or damaged.
        self.fields.len() > 1 && self.fields[0] == name.as_bytes()
    }

    pub(super) fn name(&self) -> String {
        self.text(0)
    }

    /// A field as text; empty if there is none.
    pub(super) fn text(&self, at: usize) -> String {
        let field = self.fields.get(at).map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(field).into_owned()
    }

    /// A field that is a number.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        self.text(at).parse().ok()
    }

    pub(super) fn set(&mut self, at: usize, text: &str) {
        if self.fields.len() <= at {
            self.fields.resize(at + 1, Vec::new());
        }
        self.fields[at] = text.as_bytes().to_vec();
    }

    /// Adds a name to a field that lists names, unless it is there.
    pub(super) fn add_to_list(&mut self, at: usize, name: &str) {
        let list = self.fields.get(at).map_or(&[][..], Vec::as_slice);
        if list
            .split(|byte| *byte == b',')
            .any(|one| one == name.as_bytes())
        {
            return;
        }
        let mut longer = list.to_vec();
        if !longer.is_empty() {
            longer.push(b',');
        }
        longer.extend(name.as_bytes());
        if self.fields.len() <= at {
            self.fields.resize(at + 1, Vec::new());
        }
        self.fields[at] = longer;
    }
}
