# Mutant "a cordon of somebody else in mid-turn undoes nothing": P2: it goes on while somebody else has cordoned its Node
search cordons
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: a person cordons its Node
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host
A: reads its Node
A: reads slots and host, sends the stamp of slot 0, try 1
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the confirmation
    slot 0 free | A up, waits for an answer
A: the API applies its confirmation
    slot 0 free | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | A up
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    slot 0 free | A up, waits for an answer
A: the API applies its claim of slot 0
    slot 0 held by A (this boot) | A up, waits for an answer
A: gets the answer to its claim of slot 0
    slot 0 held by A (this boot) | A up
A: a person cordons its Node
    slot 0 held by A (this boot) | A up, cordoned by a person
A: reads its Node
    slot 0 held by A (this boot) | A up, cordoned by a person
A: reads slots and host, sends the confirmation
    cannot happen; instead: A: reads slots and host, sends the release of slot 0
