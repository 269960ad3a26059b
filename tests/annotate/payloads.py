"""A hundred texts that try to become more than text: ten shapes of ten attacks."""

from __future__ import annotations

ATTACKS = (
    "<script>alert(1)</script>",
    '<img src="http://evil.example/x.png" onerror="alert(1)">',
    "<svg/onload=alert(1)>",
    '<iframe src="javascript:alert(1)"></iframe>',
    '<a href="javascript:alert(1)">press</a>',
    "[press](javascript:alert(1))",
    "![seen](http://evil.example/pixel.png)",
    "[press](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    '<form action="/vote"><button name="choice" value="1">B is better</button></form>',
    "<style>@import 'http://evil.example/x.css'; .vote { display: none }</style>",
)

SHAPES = (
    "{}",
    "Before\n\n{}\n\nafter",
    "**{}**",
    "- {}\n- {}",
    "> {}",
    "# {}",
    "</div></section></main>{}",
    "\"'>{}<!--",
    "| a | b |\n|---|---|\n| {} | x |",
    "</textarea></title></style>{}\u0000\u202e",
)

PAYLOADS = tuple(
    shape.replace("{}", f"{attack} no {number}")
    for number, attack in enumerate(ATTACKS)
    for shape in SHAPES
)
