//! Values on their way into a statement, and columns on their way out, the same for both databases.

use std::str::FromStr;

use clawrk_domain::{
    AgentId, Cents, JobId, KeyId, NoticeId, PaymentId, Subject, Timestamp, TransferId, UploadId, UserId,
};

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, Type, private::BytesMut};
use uuid::Uuid;

use crate::StoreError;

/// A value bound to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.micros())
    }
}

impl From<Cents> for Value {
    fn from(value: Cents) -> Self {
        Self::Int(value.0)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! ids {
    ($($id:ty: $stored:expr),*) => {
        $(impl From<$id> for Value {
            fn from(id: $id) -> Self {
                $stored(id)
            }
        })*
    };
}

ids!(
    UserId: |id: UserId| Value::Uuid(id.0),
    UploadId: |id: UploadId| Value::Uuid(id.0),
    AgentId: |id: AgentId| Value::Uuid(id.0),
    TransferId: |id: TransferId| Value::Uuid(id.0),
    PaymentId: |id: PaymentId| Value::Uuid(id.0),
    NoticeId: |id: NoticeId| Value::Uuid(id.0),
    Subject: |subject: Subject| Value::Text(subject.to_string()),
    JobId: |id: JobId| Value::Text(id.as_str().to_owned()),
    KeyId: |id: KeyId| Value::Text(id.as_str().to_owned())
);

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
            Self::Uuid(value) => ValueRef::Blob(value.as_bytes()),
        }))
    }
}

impl tokio_postgres::types::ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) => value.to_sql(ty, out),
            Self::Text(value) => value.as_str().to_sql(ty, out),
            Self::Bytes(value) => value.as_slice().to_sql(ty, out),
            Self::Uuid(value) => value.as_bytes().as_slice().to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA | Type::UUID)
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A row of an answer: its columns by their place, the same from both databases.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    fn column(&self, at: usize) -> Result<&Value, StoreError> {
        self.0.get(at).ok_or_else(|| corrupt(at, "nothing"))
    }

    pub(crate) fn int_or_null(&self, at: usize) -> Result<Option<i64>, StoreError> {
        match self.column(at)? {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            _ => Err(corrupt(at, "no number")),
        }
    }

    pub(crate) fn str_or_null(&self, at: usize) -> Result<Option<&str>, StoreError> {
        match self.column(at)? {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            _ => Err(corrupt(at, "no text")),
        }
    }

    pub(crate) fn bytes_or_null(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.column(at)? {
            Value::Null => Ok(None),
            Value::Bytes(value) => Ok(Some(value)),
            Value::Uuid(value) => Ok(Some(value.as_bytes())),
            _ => Err(corrupt(at, "no bytes")),
        }
    }

    pub(crate) fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.int_or_null(at)?.ok_or_else(|| corrupt(at, "an unexpected NULL"))
    }

    pub(crate) fn str(&self, at: usize) -> Result<&str, StoreError> {
        self.str_or_null(at)?.ok_or_else(|| corrupt(at, "an unexpected NULL"))
    }

    pub(crate) fn text(&self, at: usize) -> Result<String, StoreError> {
        self.str(at).map(str::to_owned)
    }

    pub(crate) fn text_or_null(&self, at: usize) -> Result<Option<String>, StoreError> {
        Ok(self.str_or_null(at)?.map(str::to_owned))
    }

    pub(crate) fn bytes(&self, at: usize) -> Result<&[u8], StoreError> {
        self.bytes_or_null(at)?.ok_or_else(|| corrupt(at, "an unexpected NULL"))
    }

    fn uuid_or_null(&self, at: usize) -> Result<Option<Uuid>, StoreError> {
        let read = |bytes| Uuid::from_slice(bytes).map_err(|_| corrupt(at, "no UUID"));
        self.bytes_or_null(at)?.map(read).transpose()
    }

    fn uuid(&self, at: usize) -> Result<Uuid, StoreError> {
        self.uuid_or_null(at)?.ok_or_else(|| corrupt(at, "an unexpected NULL"))
    }

    pub(crate) fn user(&self, at: usize) -> Result<UserId, StoreError> {
        self.uuid(at).map(UserId)
    }

    pub(crate) fn agent(&self, at: usize) -> Result<AgentId, StoreError> {
        self.uuid(at).map(AgentId)
    }

    pub(crate) fn agent_or_null(&self, at: usize) -> Result<Option<AgentId>, StoreError> {
        Ok(self.uuid_or_null(at)?.map(AgentId))
    }

    pub(crate) fn upload(&self, at: usize) -> Result<UploadId, StoreError> {
        self.uuid(at).map(UploadId)
    }

    pub(crate) fn transfer(&self, at: usize) -> Result<TransferId, StoreError> {
        self.uuid(at).map(TransferId)
    }

    pub(crate) fn payment(&self, at: usize) -> Result<PaymentId, StoreError> {
        self.uuid(at).map(PaymentId)
    }

    pub(crate) fn payment_or_null(&self, at: usize) -> Result<Option<PaymentId>, StoreError> {
        Ok(self.uuid_or_null(at)?.map(PaymentId))
    }

    pub(crate) fn transfer_or_null(&self, at: usize) -> Result<Option<TransferId>, StoreError> {
        Ok(self.uuid_or_null(at)?.map(TransferId))
    }

    /// Any id, for people.
    pub(crate) fn named(&self, at: usize) -> Result<String, StoreError> {
        match self.column(at)? {
            Value::Text(text) => Ok(text.clone()),
            _ => self.uuid(at).map(|id| id.to_string()),
        }
    }

    pub(crate) fn count(&self, at: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(at)?).map_err(|_| corrupt(at, "a number out of range"))
    }

    pub(crate) fn flag(&self, at: usize) -> Result<bool, StoreError> {
        Ok(self.int(at)? != 0)
    }

    pub(crate) fn time(&self, at: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.int(at)?))
    }

    pub(crate) fn time_or_null(&self, at: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.int_or_null(at)?.map(Timestamp::from_micros))
    }

    pub(crate) fn cents(&self, at: usize) -> Result<Cents, StoreError> {
        Ok(Cents(self.int(at)?))
    }

    /// A column that holds the text of a job's or a key's id, a status or the like.
    pub(crate) fn parsed<T: FromStr>(&self, at: usize) -> Result<T, StoreError> {
        self.parsed_or_null(at)?.ok_or_else(|| corrupt(at, "an unexpected NULL"))
    }

    pub(crate) fn parsed_or_null<T: FromStr>(&self, at: usize) -> Result<Option<T>, StoreError> {
        self.str_or_null(at)?.map(|text| text.parse().map_err(|_| corrupt(at, "a malformed text"))).transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, at: usize) -> Result<T, StoreError> {
        serde_json::from_str(self.str(at)?).map_err(|_| corrupt(at, "malformed JSON"))
    }
}

/// The database holds something that was never written there.
pub(crate) fn corrupt(at: usize, what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} in column {at}"))
}
