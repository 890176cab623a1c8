# Mutant "a cordon of somebody else holds up no claim": P2: it goes on while somebody else has cordoned its Node
search cordons
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: a person cordons its Node
A: reads its Node
A: reads slots and host, sends the claim of slot 0
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the confirmation
    slot 0 free | A up, waits for an answer
A: the API applies its confirmation
    slot 0 free | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | A up
A: a person cordons its Node
    slot 0 free | A up, cordoned by a person
A: reads its Node
    slot 0 free | A up, cordoned by a person
A: reads slots and host, sends the claim of slot 0
    cannot happen; instead: A: reads slots and host
