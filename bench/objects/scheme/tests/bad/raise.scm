(define (f)
  (raise 'oops))
(f)
