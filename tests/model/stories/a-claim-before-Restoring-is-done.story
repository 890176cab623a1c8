# Mutant "a claim before Restoring is done": liveness: an agent is at work, and nothing but a fault can change it
search alone
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, sends the cordon
A: a person garbles slot 0
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
A: reads its Node
    slot 0 held by A (this boot) | A up
A: reads slots and host, sends the cordon
    slot 0 held by A (this boot) | A up, waits for an answer
A: a person garbles slot 0
    slot 0 held by A (garbled) | A up, waits for an answer
