-- A project of blind comparison: what is compared, by whom, and every vote.

CREATE TABLE IF NOT EXISTS settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL  -- as JSON
);

CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,  -- a hash with a secret key: it says nothing of what the item is made from
    place INTEGER NOT NULL UNIQUE,
    prompt TEXT NOT NULL,  -- as JSON: a text, or turns
    a TEXT NOT NULL,
    b TEXT NOT NULL,
    source TEXT NOT NULL  -- as JSON: {"a": …, "b": …, "row": …}; never sent to a browser
);

CREATE TABLE IF NOT EXISTS annotators (
    name TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    preferences TEXT NOT NULL DEFAULT '{}'  -- as JSON: keys, and how texts are shown
);

CREATE TABLE IF NOT EXISTS assignments (
    annotator TEXT NOT NULL REFERENCES annotators (name),
    item TEXT NOT NULL REFERENCES items (id),
    place INTEGER NOT NULL,  -- in the order of this annotator
    first INTEGER NOT NULL,  -- the response that stands first, on the left: 0 is a, 1 is b
    shown REAL,  -- when it was shown, in seconds of Unix; null: not in this visit
    spent REAL NOT NULL DEFAULT 0,  -- seconds of earlier looks whose vote was undone
    PRIMARY KEY (annotator, item)
);

CREATE TABLE IF NOT EXISTS votes (
    item TEXT NOT NULL REFERENCES items (id),
    annotator TEXT NOT NULL REFERENCES annotators (name),
    grade INTEGER,  -- in steps, positive where a is better, 0 a tie; null where it is skipped
    skipped INTEGER NOT NULL,
    reason TEXT NOT NULL,
    seconds REAL NOT NULL,
    first INTEGER NOT NULL,
    created TEXT NOT NULL,  -- UTC, as ISO 8601
    nonce TEXT NOT NULL UNIQUE,  -- of the form that was sent: sent twice, it is stored once
    PRIMARY KEY (item, annotator)
);

-- Votes that were taken back; one that arrives once more is not stored again.
CREATE TABLE IF NOT EXISTS undone (
    item TEXT NOT NULL,
    annotator TEXT NOT NULL,
    grade INTEGER,
    skipped INTEGER NOT NULL,
    reason TEXT NOT NULL,
    seconds REAL NOT NULL,
    first INTEGER NOT NULL,
    created TEXT NOT NULL,
    nonce TEXT PRIMARY KEY
);
