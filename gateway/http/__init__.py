"""HTTP without I/O: requests in, answers out, everything bounded. Shared by the protocols that speak it.

    messages    what is handed over: Request, Response, and what happens on a connection
    heads       an HTTP/1.1 head as octets: exactly one reading of it, or none
    rules       what a request may be, whichever version brought it; what of its headers is passed on
    server1     the server's side of HTTP/1.1, over h11: one request at a time
    server2     the server's side of HTTP/2, over h2; `frames` counts what floods are made of, `huffman` writes out
                what its headers are coded in
    client1     the client's side of HTTP/1.1, over h11, towards a backend

Nothing is copied from one side to the other: a request is taken apart, decided about, and written anew. Whoever serves
decides; this room only says what was asked, and refuses what has more than one meaning (RFC 9112, 11.2).
"""
