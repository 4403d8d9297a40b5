//! JSON the way the field writes it.
//!
//! The reference implementation decodes keys without regard to case, reads `null`, `""` and `0` as
//! "not given", and runtimes make use of all of it. So do we; a value of the wrong kind is an error
//! that names its key.

use serde_json::{Map, Value};

use crate::error::{Code, Failure};

/// An object and where in the document it was found.
#[derive(Clone, Debug)]
pub(crate) struct Document<'a> {
    members: Option<&'a Map<String, Value>>,
    /// What its keys start with, for words about them.
    prefix: String,
}

impl<'a> Document<'a> {
    /// `None` if the value is no object.
    pub(crate) fn new(value: &'a Value) -> Option<Self> {
        value.as_object().map(|members| Self::of(Some(members)))
    }

    /// One without members if there are none.
    pub(crate) fn of(members: Option<&'a Map<String, Value>>) -> Self {
        Self { members, prefix: String::new() }
    }

    /// The member of that name, by its exact name if possible.
    pub(crate) fn member(&self, key: &str) -> Option<&'a Value> {
        self.written(key).filter(|value| !value.is_null())
    }

    /// The same, be it `null`.
    pub(crate) fn written(&self, key: &str) -> Option<&'a Value> {
        let members = self.members?;
        let inexact = || members.iter().find(|(name, _value)| name.eq_ignore_ascii_case(key));
        members.get(key).or_else(|| inexact().map(|(_name, value)| value))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Failure> {
        let text = self.read(key, Value::as_str, "a text")?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        self.read(key, Value::as_bool, "true or false")
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        let number = self.read(key, Value::as_u64, "a whole number")?;
        Ok(number.filter(|number| *number != 0))
    }

    /// The elements of a list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&'a str>, Failure> {
        let list = self.read(key, Value::as_array, "a list")?;
        let texts = list
            .into_iter()
            .flatten()
            .map(|element| element.as_str().ok_or_else(|| self.wrong(key, "a list of texts")));
        texts.collect()
    }

    /// The objects of a list.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Self>, Failure> {
        let list = self.read(key, Value::as_array, "a list")?;
        let element = |(index, value): (usize, &'a Value)| {
            let members = value.as_object();
            let prefix = format!("{}{key}[{index}].", self.prefix);
            let members = Some(members.ok_or_else(|| self.wrong(key, "a list of objects"))?);
            Ok(Self { members, prefix })
        };
        list.into_iter().flatten().enumerate().map(element).collect()
    }

    /// The object of that name; one without members if there is none.
    pub(crate) fn object(&self, key: &str) -> Result<Self, Failure> {
        Ok(Self { members: self.members(key)?, prefix: format!("{}{key}.", self.prefix) })
    }

    /// The members of the object of that name, as they are written.
    pub(crate) fn members(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Failure> {
        self.read(key, Value::as_object, "an object")
    }

    /// An error about a member.
    pub(crate) fn wrong(&self, key: &str, wanted: &str) -> Failure {
        let message =
            format!("`{}{key}` of the network configuration is not {wanted}", self.prefix);
        Failure::new(Code::InvalidConfiguration, message)
            .hint("correct the network's configuration; it lies in /etc/cni/net.d as a rule")
    }

    /// Does that key ask for anything: is it more than `null`, `false`, `0`, `""`, `[]` and `{}`?
    pub(crate) fn asked(&self, key: &str) -> Option<&'a Value> {
        self.member(key).filter(|value| match value {
            Value::Null => false,
            Value::Bool(on) => *on,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(members) => !members.is_empty(),
        })
    }

    /// Nothing may be asked for there.
    pub(crate) fn refuse(&self, key: &str, hint: &str) -> Result<(), Failure> {
        self.asked(key).map_or(Ok(()), |value| Err(self.unsupported(key, value, hint)))
    }

    /// An error about a member that asks for what we do not do: with its key and its value, as the
    /// specification wants it.
    pub(crate) fn unsupported(&self, key: &str, value: &Value, hint: &str) -> Failure {
        let message = format!("`{}{key}` is {value}, which is not supported", self.prefix);
        Failure::new(Code::UnsupportedField, message).hint(hint)
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, Failure> {
        let value = self.member(key);
        value.map(|value| read(value).ok_or_else(|| self.wrong(key, wanted))).transpose()
    }
}
