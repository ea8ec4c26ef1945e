//! Tables of texts: an enum whose every variant has its text in the same row.

/// Defines an enum from rows: a doc, a variant with named values, and its text. The text is a
/// format string that names the values; further arguments may follow it.
///
/// The enum displays its text, and equals a string of that text. In tests, `examples` returns a
/// value of each variant.
macro_rules! texts {
    (
        $(#[$outer:meta])*
        pub enum $name:ident {
            $(
                $(#[$doc:meta])+
                $variant:ident $(($($value:ident: $type:ty),+))? =>
                    $text:literal $(, $key:ident = $shown:expr)*;
            )+
        }
    ) => {
        $(#[$outer])*
        pub enum $name {
            $( $(#[$doc])+ $variant $(($($type),+))?, )+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $( Self::$variant $(($($value),+))? => write!(f, $text $(, $key = $shown)*), )+
                }
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                let shown = self.to_string();
                shown == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self == *text
            }
        }

        #[cfg(test)]
        impl $name {
            /// Returns the name and an example of each variant.
            pub(super) fn examples() -> Vec<(&'static str, Self)> {
                vec![$((
                    stringify!($variant),
                    Self::$variant
                        $(($(<$type as $crate::exchange::note::tests::Example>::example()),+))?,
                )),+]
            }
        }
    };
}

pub(super) use texts;
