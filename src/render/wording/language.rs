//! What languages differ in: numbers, months, days, and the few sentences that helpers say. In: a BCP 47 tag. Out: a
//! [`Language`]; English where a language is not among those that are spoken here. Cannot fail. A new language is one
//! [`Language`] below, and its line in [`Language::of`].

/// How a language writes numbers.
pub(super) struct Numbers {
    pub group: &'static str,
    pub point: &'static str,
    pub currency_first: bool,
    /// Between a number and `%`.
    pub percent: &'static str,
}

/// A language, and what is said in it.
pub(super) struct Language {
    /// From January on.
    pub months: [&'static str; 12],
    /// From Monday on.
    pub weekdays: [&'static str; 7],
    /// A date: `{d}` is the day, `{D}` the day as it counts (3., 1er), `{m}` the month, `{y}` the year.
    pub date: &'static str,
    /// So many are left, one and more: `{n}`.
    pub left: Plural,
    /// Ends in so many minutes, hours, days.
    pub ends_in: [Plural; 3],
    /// Of stock: none, and enough.
    pub stock: [&'static str; 2],
    /// It has ended.
    pub over: &'static str,
}

/// A sentence for one and for more, in which `{n}` is how many.
pub(super) struct Plural(&'static str, &'static str);

impl Plural {
    pub fn of(&self, count: i64) -> String {
        let sentence = if count == 1 { self.0 } else { self.1 };
        sentence.replace("{n}", &count.to_string())
    }
}

/// The language's own part of a tag, in lower case: `de` of `de-AT` and `DE_at`.
fn primary(tag: &str) -> String {
    tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

impl Numbers {
    /// By language; what is not listed is written as in English.
    pub fn of(tag: &str) -> Numbers {
        let (group, point, currency_first, percent) = match primary(tag).as_str() {
            "de" | "es" | "da" | "sl" | "ro" | "hr" => (".", ",", false, "\u{a0}"),
            "it" | "pt" | "el" | "id" | "tr" => (".", ",", false, ""),
            "nl" => (".", ",", true, ""),
            "fr" | "cs" | "sk" | "sv" | "nb" | "no" | "fi" | "bg" | "ru" => ("\u{a0}", ",", false, "\u{a0}"),
            "pl" | "hu" | "uk" => ("\u{a0}", ",", false, ""),
            _ => (",", ".", true, ""),
        };
        Numbers { group, point, currency_first, percent }
    }

    /// Plain digits, as `1234.5`, in the language's way.
    pub fn written(&self, digits: &str) -> String {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                out.push_str(self.group);
            }
            out.push(digit);
        }
        if !fraction.is_empty() {
            out.push_str(self.point);
            out.push_str(fraction);
        }
        out
    }
}

impl Language {
    /// By tag; English where the language is not spoken here.
    pub fn of(tag: &str) -> &'static Language {
        match primary(tag).as_str() {
            "de" => &GERMAN,
            "fr" => &FRENCH,
            "es" => &SPANISH,
            "it" => &ITALIAN,
            "nl" => &DUTCH,
            _ if is_american(tag) => &AMERICAN,
            _ => &BRITISH,
        }
    }
}

/// Whether dates are written month first and hours up to twelve: English without a region, and of these regions.
pub(super) fn is_american(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    parts.next().is_some_and(|language| language.is_empty() || language.eq_ignore_ascii_case("en"))
        && parts.next().is_none_or(|region| ["US", "CA", "PH"].iter().any(|one| region.eq_ignore_ascii_case(one)))
}

const ENGLISH_MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ENGLISH_DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ENGLISH_LEFT: Plural = Plural("Only {n} left", "Only {n} left");
const ENGLISH_ENDS: [Plural; 3] = [
    Plural("Ends in {n} minute", "Ends in {n} minutes"),
    Plural("Ends in {n} hour", "Ends in {n} hours"),
    Plural("Ends in {n} day", "Ends in {n} days"),
];

static AMERICAN: Language = Language {
    months: ENGLISH_MONTHS,
    weekdays: ENGLISH_DAYS,
    date: "{m} {d}, {y}",
    left: ENGLISH_LEFT,
    ends_in: ENGLISH_ENDS,
    stock: ["Sold out", "In stock"],
    over: "Ended",
};

static BRITISH: Language = Language {
    months: ENGLISH_MONTHS,
    weekdays: ENGLISH_DAYS,
    date: "{d} {m} {y}",
    left: ENGLISH_LEFT,
    ends_in: ENGLISH_ENDS,
    stock: ["Sold out", "In stock"],
    over: "Ended",
};

static GERMAN: Language = Language {
    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    weekdays: ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"],
    date: "{d}. {m} {y}",
    left: Plural("Nur noch {n} Stück", "Nur noch {n} Stück"),
    ends_in: [
        Plural("Endet in {n} Minute", "Endet in {n} Minuten"),
        Plural("Endet in {n} Stunde", "Endet in {n} Stunden"),
        Plural("Endet in {n} Tag", "Endet in {n} Tagen"),
    ],
    stock: ["Ausverkauft", "Auf Lager"],
    over: "Beendet",
};

static FRENCH: Language = Language {
    months: [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    weekdays: ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"],
    date: "{D} {m} {y}",
    left: Plural("Plus que {n} en stock", "Plus que {n} en stock"),
    ends_in: [
        Plural("Se termine dans {n} minute", "Se termine dans {n} minutes"),
        Plural("Se termine dans {n} heure", "Se termine dans {n} heures"),
        Plural("Se termine dans {n} jour", "Se termine dans {n} jours"),
    ],
    stock: ["Épuisé", "En stock"],
    over: "Terminé",
};

static SPANISH: Language = Language {
    months: [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    weekdays: ["lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"],
    date: "{d} de {m} de {y}",
    left: Plural("Solo queda {n}", "Solo quedan {n}"),
    ends_in: [
        Plural("Termina en {n} minuto", "Termina en {n} minutos"),
        Plural("Termina en {n} hora", "Termina en {n} horas"),
        Plural("Termina en {n} día", "Termina en {n} días"),
    ],
    stock: ["Agotado", "En stock"],
    over: "Terminado",
};

static ITALIAN: Language = Language {
    months: [
        "gennaio",
        "febbraio",
        "marzo",
        "aprile",
        "maggio",
        "giugno",
        "luglio",
        "agosto",
        "settembre",
        "ottobre",
        "novembre",
        "dicembre",
    ],
    weekdays: ["lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato", "domenica"],
    date: "{d} {m} {y}",
    left: Plural("Ne resta solo {n}", "Ne restano solo {n}"),
    ends_in: [
        Plural("Termina tra {n} minuto", "Termina tra {n} minuti"),
        Plural("Termina tra {n} ora", "Termina tra {n} ore"),
        Plural("Termina tra {n} giorno", "Termina tra {n} giorni"),
    ],
    stock: ["Esaurito", "Disponibile"],
    over: "Terminato",
};

static DUTCH: Language = Language {
    months: [
        "januari",
        "februari",
        "maart",
        "april",
        "mei",
        "juni",
        "juli",
        "augustus",
        "september",
        "oktober",
        "november",
        "december",
    ],
    weekdays: ["maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag", "zondag"],
    date: "{d} {m} {y}",
    left: Plural("Nog maar {n} op voorraad", "Nog maar {n} op voorraad"),
    ends_in: [
        Plural("Eindigt over {n} minuut", "Eindigt over {n} minuten"),
        Plural("Eindigt over {n} uur", "Eindigt over {n} uur"),
        Plural("Eindigt over {n} dag", "Eindigt over {n} dagen"),
    ],
    stock: ["Uitverkocht", "Op voorraad"],
    over: "Afgelopen",
};
