# Mutant "the turn of another zone holds up nothing": nodes of two zones are disrupted
search zones
A: reads its Node
B: reads its Node
A: reads slots and host, sends the confirmation
B: reads slots and host, sends the confirmation
A: the API applies its confirmation
B: the API applies its confirmation
A: gets the answer to its confirmation
B: gets the answer to its confirmation
A: reads its Node
B: reads its Node
A: reads slots and host, sends the claim of slot 1
A: the API applies its claim of slot 1
B: reads slots and host, sends the claim of slot 0
A: gets the answer to its claim of slot 1
A: reads its Node
A: reads slots and host, sends the cordon
A: the API applies its cordon
B: the API applies its claim of slot 0
B: gets the answer to its claim of slot 0
B: reads its Node
B: reads slots and host, sends the cordon
B: the API applies its cordon
---
A: reads its Node
    slot 0 free | slot 1 free | A up | B up
B: reads its Node
    slot 0 free | slot 1 free | A up | B up
A: reads slots and host, sends the confirmation
    slot 0 free | slot 1 free | A up, waits for an answer | B up
B: reads slots and host, sends the confirmation
    slot 0 free | slot 1 free | A up, waits for an answer | B up, waits for an answer
A: the API applies its confirmation
    slot 0 free | slot 1 free | A up, waits for an answer | B up, waits for an answer
B: the API applies its confirmation
    slot 0 free | slot 1 free | A up, waits for an answer | B up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | slot 1 free | A up | B up, waits for an answer
B: gets the answer to its confirmation
    slot 0 free | slot 1 free | A up | B up
A: reads its Node
    slot 0 free | slot 1 free | A up | B up
B: reads its Node
    slot 0 free | slot 1 free | A up | B up
A: reads slots and host, sends the claim of slot 1
    slot 0 free | slot 1 free | A up, waits for an answer | B up
A: the API applies its claim of slot 1
    slot 0 free | slot 1 held by A (this boot) | A up, waits for an answer | B up
B: reads slots and host, sends the claim of slot 0
    cannot happen; instead: B: reads slots and host
