//! The words of the catalogue. Their lengths bound the lengths of the texts, which a test in `text` checks: a new word must
//! not be shorter or longer than the others of its list. Text is as in the file: a quote is doubled.

/// Product names are one of these, a space, and a thing: 9 to 24 characters.
pub(crate) const KINDS: &[&str] = &[
    "Alpine", "Amber", "Brave", "Breezy", "Calm", "Cedar", "Coastal", "Copper", "Crisp", "Dapper", "Drift",
    "Early", "Ember", "Everyday", "Fable", "Fern", "Gentle", "Golden", "Harbour", "Hazel", "Hushed",
    "Indigo", "Jolly", "Juniper", "Lively", "Lunar", "Maple", "Mellow", "Midnight", "Nimble", "Northern",
    "Old Mill", "Orchard", "Pocket", "Quiet", "Rambling", "River's", "Rugged", "Rustic", "Sailor's", "Slow",
    "Solar", "Spruce", "Sunday", "Tidal", "Twilight", "Velvet", "Weekend", "Winter's", "Woodland",
];
/// Things that come in letter sizes.
pub(crate) const GARMENTS: &[&str] = &[
    "Anorak",
    "Apron Dress",
    "Beanie",
    "Blazer",
    "Blouse",
    "Bomber",
    "Cardigan",
    "Chinos",
    "Culottes",
    "Dungarees",
    "Fleece",
    "Gilet",
    "Henley",
    "Hoodie",
    "Jumper",
    "Kimono",
    "Leggings",
    "Overshirt",
    "Parka",
    "Pinafore",
    "Poncho",
    "Pullover",
    "Pyjamas",
    "Raincoat",
    "Romper",
    "Sarong",
    "Scarf",
    "Shorts",
    "Singlet",
    "Sweatshirt",
    "Tank Top",
    "Trousers",
    "Tunic",
    "Waistcoat",
    "Windcheater",
];
/// Things that come in shoe sizes.
pub(crate) const SHOES: &[&str] = &[
    "Boots",
    "Brogues",
    "Clogs",
    "Derbies",
    "Espadrilles",
    "Gumboots",
    "High Tops",
    "Loafers",
    "Moccasins",
    "Mules",
    "Plimsolls",
    "Pumps",
    "Runners",
    "Sandals",
    "Slides",
    "Slip-Ons",
    "Trainers",
    "Wellingtons",
];
/// Names that are valid and hard to parse: quotes, commas, accents.
pub(crate) const RARE_NAMES: &[&str] = &[
    "The \"\"Other\"\" Shirt",
    "Café au Lait Cardigan",
    "Salt, Sand & Sea Sarong",
    "Señorita Shawl",
    "Über-Warm Überzieher",
    "O'Malley's Own Oilskin",
];

/// A slogan is an opening and a close, 11 to 85 characters together.
pub(crate) const OPENINGS: &[&str] = &[
    "Made for mornings",
    "Cut for the long way home",
    "Soft on the inside",
    "A little brighter than you'd think",
    "Light as a promise",
    "For wind, rain and waiting",
    "Easy",
    "Worn in from day one",
    "Born by the sea",
    "Your second skin",
    "Quiet colours",
    "Warm where it counts",
    "Nothing to prove",
    "Packs small",
    "The one you reach for first",
    "Stitched by people who care about stitching",
];
/// See [`OPENINGS`].
pub(crate) const CLOSES: &[&str] = &[
    ", always",
    ", all year",
    ", rain or shine",
    " and never in a hurry",
    ", whatever the day brings",
    " and ready when you are",
    ", loud opinions",
    " for people who'd rather walk",
    ", made to be mended",
    " and good for another ten winters",
    ", without the fuss",
    ", gone by Friday",
];
/// Whole slogans that are valid and hard to parse.
pub(crate) const RARE_SLOGANS: &[&str] = &[
    "As seen in \"\"nowhere in particular\"\", and proud of it",
    "Très simple, très bien",
    "Wear it 🌊 everywhere",
    "It's \"\"fine\"\"",
];

/// A sentence of a description is a subject, what it does, and an ending: 30 to 78 characters with the stop.
pub(crate) const SUBJECTS: &[&str] = &[
    "The collar",
    "Every seam",
    "A brushed lining",
    "The roomy cut",
    "This old favourite",
    "Our softest yarn",
    "The wide hem",
    "One hidden pocket",
    "A double row of thread",
    "The dyer's best blue",
    "Its plain shape",
    "The second layer",
];
/// See [`SUBJECTS`].
pub(crate) const VERBS: &[&str] = &[
    "keeps its shape",
    "sits close, not tight",
    "breathes well",
    "dries in an hour",
    "takes the weather",
    "looks after you",
    "won't let you down",
    "gets better with age",
    "moves as you move",
    "holds on to the warmth",
    "asks for little care",
    "never quite goes out",
];
/// See [`SUBJECTS`].
pub(crate) const ENDINGS: &[&str] = &[
    "on the ferry, on the hill",
    "from desk to dinner",
    "through a whole season",
    "when the evening turns cool",
    "wash after wash",
    "even at the back of a bike",
    "at home or far from it",
    "as long as you do",
    "and nobody has to know",
    "in town",
    "in any light",
    "until the kettle's on",
];
/// Whole sentences that are valid and hard to parse, none longer than the longest of the others.
pub(crate) const RARE_SENTENCES: &[&str] = &[
    "They call it \"\"the good one\"\", and they're right.",
    "Sizes run small, so go up; 100% worth it.",
    "Crème de la crème, à prix doux.",
    "Smells faintly of the sea 🌊, honestly.",
    "Semi-colons; dashes - and 3/4 sleeves (really).",
];

/// Categories of things in letter sizes; with those of shoes they are 28.
pub(crate) const CATEGORIES: &[&str] = &[
    "Coats",
    "Knitwear",
    "Shirts",
    "Tops",
    "Trousers",
    "Skirts",
    "Dresses",
    "Denim",
    "Sportswear",
    "Swimwear",
    "Nightwear",
    "Underwear",
    "Rainwear",
    "Workwear",
    "Hats",
    "Scarves",
    "Gloves",
    "Belts",
    "Socks",
    "Suits",
    "Maternity",
    "Children",
];
/// Categories of things in shoe sizes.
pub(crate) const SHOE_CATEGORIES: &[&str] =
    &["Boots", "Sandals", "Sneakers", "Slippers", "Running Shoes", "Formal Shoes"];

/// Names of styles; sometimes two of them with an ampersand.
pub(crate) const COLOURS: &[&str] = &[
    "Ash", "Black", "Blue", "Bone", "Brick", "Buff", "Coral", "Cream", "Denim", "Fawn", "Fern", "Fog",
    "Gold", "Green", "Grey", "Ink", "Ivory", "Jade", "Lilac", "Lime", "Mint", "Moss", "Navy", "Ochre",
    "Olive", "Peach", "Pine", "Pink", "Plum", "Red", "Rose", "Rust", "Sage", "Sand", "Sky", "Slate", "Tan",
    "Teal", "White", "Wine",
];
/// Style names that are valid and hard to parse.
pub(crate) const RARE_COLOURS: &[&str] =
    &["Bleu foncé", "Piña", "Salt, Pepper", "Sailor's Stripe", "Rosé 🌹", "The \"\"Loud\"\" One"];

/// A feature and its possible values.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    pub(crate) values: &'static [&'static str],
}

pub(crate) const FEATURES: &[Feature] = &[
    Feature { name: "Outer Fabric", values: &["Brushed Twill", "Cotton Poplin", "Oxford", "Herringbone"] },
    Feature { name: "Filling", values: &["Down", "Wool", "Recycled Fibre"] },
    Feature { name: "Inner Lining", values: &["Silk", "Organic Cotton", "Fleece", "No Lining"] },
    Feature { name: "Closure", values: &["Two-Way Zip", "Horn Toggles", "Hook & Eye", "Snap, hidden"] },
    Feature { name: "Pockets", values: &["Two, with flaps", "Four", "One, inside"] },
    Feature { name: "Country of Origin", values: &["Portugal", "Perú", "Japan", "Sri Lanka"] },
    Feature { name: "Care Advice", values: &["Cold Wash", "Hand Wash", "Don't Iron"] },
    Feature { name: "Sewing Thread", values: &["Waxed Linen", "Polyester", "Cotton Wrap"] },
    Feature { name: "Insole", values: &["Cork", "Gel", "Memory Foam"] },
    Feature { name: "Fabric Weight", values: &["Light", "Mid-Season", "Heavy"] },
];
/// Features whose value is null: the product has them or not.
pub(crate) const CERTIFICATES: &[&str] = &["Water Repellent", "Repair Service", "Vegan", "Undyed"];

/// In order: a style has the first ones, as many as `shape` draws.
pub(crate) const LETTER_SIZES: [&str; 6] = ["XS", "S", "M", "L", "XL", "XXL"];
/// See [`LETTER_SIZES`].
pub(crate) const SHOE_SIZES: [&str; 11] =
    ["7", "7.5", "8", "8.5", "9", "9.5", "10", "10.5", "11", "11.5", "12"];
